//! `kubectl`, asked with a context and a namespace: argv and stdin only, its faults told by who must act.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::deploy::kubernetes::manifest::MANAGER;
use crate::fault::{Exit, Fault, Tail};
use crate::host::process::{Command, LineSink, Output, Status};
use crate::stage::lint::tool::stopped;

/// Of one request to the API server.
const REQUEST: Duration = Duration::from_secs(30);
/// Of a whole call: several requests, or a deletion that waits.
const CALL: Duration = Duration::from_secs(120);

/// A cluster and a namespace in it.
#[derive(Clone, Debug)]
pub(super) struct Kubectl {
    /// Of the kubeconfig; absent: its current one.
    pub(super) context: Option<String>,
    pub(super) namespace: String,
}

impl Kubectl {
    /// `kubectl ARGS`, with context and namespace.
    pub(super) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("kubectl").timeout(CALL);
        // Its colours and its pager are for eyes.
        command = command.env("KUBECTL_KUBERC", "false").unset("KUBECTL_EXTERNAL_DIFF");
        if let Some(context) = &self.context {
            command = command.arg(format!("--context={context}"));
        }
        command
            .arg(format!("--namespace={}", self.namespace))
            .arg(format!("--request-timeout={}s", REQUEST.as_secs()))
            .args(args)
    }

    /// Runs it and wants exit 0; gives stdout.
    ///
    /// # Errors
    /// [`Exit::Machine`]: no kubectl, no cluster, no right; [`Exit::Outside`]: it does not answer now.
    pub(super) fn run(&self, command: &Command, cancel: &Cancel) -> anyhow::Result<Vec<u8>> {
        let output = self.output(command, cancel)?;
        if output.status == Status::Exited(0) {
            return Ok(output.stdout);
        }
        Err(self.fault(command, &output))
    }

    /// As it ended, however.
    ///
    /// # Errors
    /// [`Exit::Machine`]: no kubectl; an interruption.
    pub(super) fn output(&self, command: &Command, cancel: &Cancel) -> anyhow::Result<Output> {
        let output = command.output(cancel).map_err(missing)?;
        if output.status == Status::Cancelled { Err(stopped(cancel)) } else { Ok(output) }
    }

    /// Hands each line over as it comes.
    ///
    /// # Errors
    /// As [`Kubectl::run`]; none where it was told to stop.
    pub(super) fn stream(
        &self,
        command: &Command,
        cancel: &Cancel,
        sink: LineSink<'_>,
    ) -> anyhow::Result<()> {
        let output = command.stream(cancel, sink).map_err(missing)?;
        match output.status {
            Status::Exited(0) | Status::Cancelled => Ok(()),
            _ => Err(self.fault(command, &output)),
        }
    }

    /// The items of `kubectl get KINDS -l SELECTOR`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(super) fn list(&self, kinds: &str, selector: &str, cancel: &Cancel) -> anyhow::Result<Vec<Value>> {
        let command = self.command(["get", kinds, "--selector", selector, "--output=json"]);
        let mut list: Value = serde_json::from_slice(&self.run(&command, cancel)?)?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// An object, `None` where it is not there.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(super) fn get(&self, kind: &str, name: &str, cancel: &Cancel) -> anyhow::Result<Option<Value>> {
        let command = self.command(["get", kind, name, "--ignore-not-found", "--output=json"]);
        let bytes = self.run(&command, cancel)?;
        if bytes.trim_ascii().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&bytes)?)) }
    }

    /// Applies objects on the server, ours whoever has changed them; makes the namespace where it lacks.
    /// Gives what they are then.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub(super) fn apply(&self, objects: &[Value], cancel: &Cancel) -> anyhow::Result<Vec<Value>> {
        let command = self.applying(objects, "--output=json");
        let mut output = self.output(&command, cancel)?;
        if output.status != Status::Exited(0) && self.lacks_namespace(&output) {
            self.make_namespace(cancel)?;
            output = self.output(&command, cancel)?;
        }
        if output.status != Status::Exited(0) {
            return Err(self.fault(&command, &output));
        }
        let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
        let mut applied = Vec::new();
        for value in stream {
            let mut value = value?;
            match value.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => applied.extend(items),
                _ => applied.push(value),
            }
        }
        Ok(applied)
    }

    fn applying(&self, objects: &[Value], output: &str) -> Command {
        self.command([
            "apply",
            "--server-side",
            "--force-conflicts",
            &format!("--field-manager={MANAGER}"),
            "--filename=-",
            output,
        ])
        .stdin(listed(objects))
    }

    fn make_namespace(&self, cancel: &Cancel) -> anyhow::Result<()> {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                "labels": { "app.kubernetes.io/managed-by": MANAGER },
            },
        });
        self.run(&self.applying(&[namespace], "--output=name"), cancel)?;
        Ok(())
    }

    /// Whether a call failed because there is no such namespace.
    pub(super) fn lacks_namespace(&self, output: &Output) -> bool {
        let said = String::from_utf8_lossy(&output.stderr);
        said.contains(&format!("namespaces \"{}\" not found", self.namespace))
    }

    /// What is to be told of a call that failed: the API server's own words, with the exit code of who must
    /// act.
    pub(super) fn fault(&self, command: &Command, output: &Output) -> anyhow::Error {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<String> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| command.secrets.redact(line).into_owned())
            .collect();
        let (exit, message, hint) = classify(&said, output.status);
        let tail = Tail(lines[lines.len().saturating_sub(10)..].to_vec());
        let mut fault = Fault::new(exit, message);
        fault.hint = hint.map(str::to_owned);
        if tail.0.is_empty() { fault.into() } else { anyhow::Error::from(tail).context(fault) }
    }
}

/// Objects as one document for stdin.
pub(super) fn listed(objects: &[Value]) -> Vec<u8> {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string().into_bytes()
}

fn missing(error: crate::host::process::ProcessError) -> anyhow::Error {
    let fault = Fault::new(Exit::Machine, "kubectl can't be run").hint("install kubectl 1.30 or newer");
    anyhow::Error::from(error).context(fault)
}

/// By what kubectl says: who must act, in words, and the remedy.
fn classify(said: &str, status: Status) -> (Exit, &'static str, Option<&'static str>) {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["(Forbidden)", "is forbidden", "cannot be patched"]) {
        return (
            Exit::Machine,
            "the cluster forbids it",
            Some("ask for the right that it names, or use another context"),
        );
    }
    if has(&["(Unauthorized)", "provide credentials", "getting credentials", "must be logged in"]) {
        return (
            Exit::Machine,
            "the cluster does not know who asks",
            Some("look at the user of the kubeconfig's context"),
        );
    }
    if has(&[
        "context \"",
        "no configuration has been provided",
        "current-context",
        "error loading config",
        "no context exists",
    ]) {
        return (
            Exit::Machine,
            "no cluster is configured",
            Some("set KUBECONFIG, or `context` under `[deploy.kubernetes]`"),
        );
    }
    if has(&[
        // Without a kubeconfig kubectl asks port 8080 of this machine, whatever listens there.
        "looking for beginning of value",
        "was refused",
        "no such host",
        "no route to host",
        "network is unreachable",
    ]) {
        return (
            Exit::Machine,
            "there is no cluster",
            Some("is it up, and does the kubeconfig name it rightly?"),
        );
    }
    if has(&[
        "(Invalid)",
        "(BadRequest)",
        "is invalid",
        "unknown field",
        "no matches for kind",
        "strict decoding error",
    ]) {
        return (Exit::Usage, "the cluster does not take a manifest", Some("look at the overlays"));
    }
    if matches!(status, Status::TimedOut(_)) {
        return (Exit::Outside, "the cluster does not answer in time", None);
    }
    (Exit::Outside, "the cluster said no", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_the_exit_code_of_who_must_act() {
        for (said, exit) in [
            (
                "Error from server (Forbidden): deployments.apps is forbidden: User \"nobody\" cannot list",
                Exit::Machine,
            ),
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                Exit::Machine,
            ),
            ("error: You must be logged in to the server (Unauthorized)", Exit::Machine),
            ("error: context \"x\" does not exist", Exit::Machine),
            ("error: invalid character 'a' looking for beginning of value", Exit::Machine),
            ("The Deployment \"a\" is invalid: spec.replicas: Invalid value: -1", Exit::Usage),
            ("Error from server: etcdserver: request timed out", Exit::Outside),
            ("", Exit::Outside),
        ] {
            assert_eq!(classify(said, Status::Exited(1)).0, exit, "{said}");
        }
    }
}
