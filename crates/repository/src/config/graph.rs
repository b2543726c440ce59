//! Cycles in what names what: pure, and without recursion, for a file may hold any number of names.

use std::collections::{BTreeMap, BTreeSet};

/// Each name, and the names that it needs; a needed name that is no key is left out of account.
pub(crate) type Graph<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The names in an order in which each stands after what it needs, and the cycles among the others.
/// A cycle `[a, b]` is a → b → a.
pub(crate) fn order<'a>(graph: &Graph<'a>) -> (Vec<&'a str>, Vec<Vec<&'a str>>) {
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (name, needs) in graph {
        let needs: BTreeSet<&&str> = needs.iter().filter(|need| graph.contains_key(*need)).collect();
        waiting.insert(name, needs.len());
        for need in needs {
            needed_by.entry(need).or_default().push(name);
        }
    }
    let mut ready: Vec<&'a str> =
        graph.keys().rev().filter(|name| waiting.get(*name) == Some(&0)).copied().collect();
    let mut order = Vec::with_capacity(graph.len());
    while let Some(name) = ready.pop() {
        order.push(name);
        waiting.remove(name);
        for dependent in needed_by.get(name).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    let left = graph.keys().filter(|name| waiting.contains_key(*name)).copied();
    (order, cycles(graph, &left.collect()))
}

/// Every name in `left` needs another in `left`: following them must come round.
fn cycles<'a>(graph: &Graph<'a>, left: &BTreeSet<&'a str>) -> Vec<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for start in left {
        let mut walk: Vec<&'a str> = Vec::new();
        let mut at: BTreeMap<&str, usize> = BTreeMap::new();
        let mut name = *start;
        while seen.insert(name) {
            at.insert(name, walk.len());
            walk.push(name);
            match graph.get(name).into_iter().flatten().find(|need| left.contains(*need)) {
                Some(next) => name = next,
                None => break,
            }
        }
        if let Some(from) = at.get(name)
            && (walk.len() > from + 1 || graph.get(name).is_some_and(|needs| needs.contains(&name)))
        {
            cycles.push(walk.split_off(*from));
        }
    }
    cycles
}

/// `a -> b -> a`
pub(crate) fn shown(cycle: &[&str]) -> String {
    let mut names: Vec<&str> = cycle.to_vec();
    names.extend(cycle.first());
    names.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph<'a>(edges: &[(&'a str, &[&'a str])]) -> Graph<'a> {
        edges.iter().map(|(name, needs)| (*name, needs.to_vec())).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        let (order, cycles) = order(&graph(&[("a", &["b", "c", "elsewhere"]), ("b", &["c"]), ("c", &[])]));
        assert_eq!(order, ["c", "b", "a"]);
        assert!(cycles.is_empty());
    }

    #[test]
    fn each_cycle_is_found_once_and_what_leads_to_it_is_none() {
        let graph = graph(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["b"]),
            ("d", &["d"]),
            ("e", &[]),
            ("f", &["e", "g"]),
            ("g", &["h"]),
            ("h", &["f"]),
        ]);
        let (order, cycles) = order(&graph);
        assert_eq!(order, ["e"]);
        let shown: Vec<String> = cycles.iter().map(|cycle| shown(cycle)).collect();
        assert_eq!(shown, ["b -> c -> b", "d -> d", "f -> g -> h -> f"]);
    }

    #[test]
    fn a_long_chain_does_not_end_the_stack() {
        let names: Vec<String> = (0..50_000).map(|n| format!("n{n:05}")).collect();
        let graph: Graph<'_> =
            names.iter().zip(names.iter().skip(1)).map(|(a, b)| (a.as_str(), vec![b.as_str()])).collect();
        assert_eq!(order(&graph).0.len(), 49_999);
    }
}
