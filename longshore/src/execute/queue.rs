//! Which job comes next. Pure.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::plan::{JobId, Plan, Stage, State};

/// The jobs of a plan by their place in it: what each waits for, and what waits for it.
#[derive(Debug)]
pub(super) struct Queue {
    nodes: Vec<Node>,
    /// Free places by stage; a stage without an entry has as many as it likes.
    free: BTreeMap<Stage, usize>,
}

#[derive(Debug)]
struct Node {
    stage: Stage,
    /// Its own estimate and that of the longest chain that waits for it: the longest goes first.
    weight: u64,
    waits: usize,
    dependents: Vec<usize>,
    state: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    Running,
    Ended,
    /// Its needs are not earlier jobs of the plan: a defect of who made it.
    Broken(String),
}

impl Queue {
    pub(super) fn new<A>(plan: &Plan<A>, limits: &BTreeMap<Stage, usize>) -> Self {
        let mut places: HashMap<&JobId, usize> = HashMap::new();
        let mut nodes: Vec<Node> = Vec::with_capacity(plan.jobs.len());
        for (index, job) in plan.jobs.iter().enumerate() {
            let cost = if job.state == State::Cached { 0 } else { u64::from(job.cost) };
            let (stage, state) = (job.stage, Place::Waiting);
            let mut node = Node { stage, weight: cost, waits: 0, dependents: Vec::new(), state };
            for need in &job.needs {
                match places.get(need) {
                    Some(place) => {
                        nodes[*place].dependents.push(index);
                        node.waits += 1;
                    }
                    None => {
                        let message = format!("internal: it needs `{need}`, which is no earlier job");
                        node.state = Place::Broken(message);
                    }
                }
            }
            if places.insert(&job.id, index).is_some() {
                node.state = Place::Broken(format!("internal: `{}` is in the plan twice", job.id));
            }
            nodes.push(node);
        }
        // Dependents stand later: from the end, theirs are known.
        for index in (0..nodes.len()).rev() {
            let chain = nodes[index].dependents.iter().map(|dependent| nodes[*dependent].weight).max();
            nodes[index].weight += chain.unwrap_or(0);
        }
        let free = limits.iter().map(|(stage, limit)| (*stage, (*limit).max(1))).collect();
        Self { nodes, free }
    }

    /// Takes the job to start next: of those whose needs have ended and whose stage has a place, the one at
    /// the head of the longest chain; of equals the earliest.
    pub(super) fn next(&mut self) -> Option<usize> {
        let ready = |node: &Node| {
            node.state == Place::Waiting && node.waits == 0 && self.free.get(&node.stage) != Some(&0)
        };
        let (index, _) = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| ready(node))
            .max_by_key(|(index, node)| (node.weight, std::cmp::Reverse(*index)))?;
        self.nodes[index].state = Place::Running;
        if let Some(free) = self.free.get_mut(&self.nodes[index].stage) {
            *free -= 1;
        }
        Some(index)
    }

    /// A running job has ended well.
    pub(super) fn finish(&mut self, index: usize) {
        self.leave(index);
        for dependent in self.nodes[index].dependents.clone() {
            self.nodes[dependent].waits -= 1;
        }
    }

    /// A running job has not: gives all that wait for it, directly or not, in the order of the plan. They
    /// have ended with it.
    pub(super) fn fail(&mut self, index: usize) -> Vec<usize> {
        self.leave(index);
        let mut lost = Vec::new();
        let mut open = self.nodes[index].dependents.clone();
        while let Some(dependent) = open.pop() {
            let node = &mut self.nodes[dependent];
            if node.state == Place::Waiting {
                node.state = Place::Ended;
                lost.push(dependent);
                open.extend(&node.dependents);
            }
        }
        lost.sort_unstable();
        lost
    }

    /// Why a job can never start, where its plan is at fault.
    pub(super) fn defect(&self, index: usize) -> Option<&str> {
        match &self.nodes[index].state {
            Place::Broken(message) => Some(message),
            _ => None,
        }
    }

    fn leave(&mut self, index: usize) {
        if self.nodes[index].state == Place::Running
            && let Some(free) = self.free.get_mut(&self.nodes[index].stage)
        {
            *free += 1;
        }
        self.nodes[index].state = Place::Ended;
    }
}
