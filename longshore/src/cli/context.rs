//! `image --context SERVICE`: what the build of a service's Dockerfile is sent.

use std::fmt::Write as _;

use super::Global;
use crate::cancel::Cancel;
use crate::dockerfile::context::{self, Notice, Size};
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::report::{self, measure};
use crate::session::Session;
use crate::stage::image::dockerfile::sent;

/// The largest files that are listed.
const LARGEST: usize = 10;

/// Lists it.
///
/// # Errors
/// [`Exit::Usage`] for a service that is not there or has no Dockerfile; those of [`sent::notices`].
pub fn context(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    service: &str,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let Some(settings) = session.settings.get(service) else {
        let mut fault = Fault::new(Exit::Usage, format!("there is no service `{service}`"));
        fault.hint = crate::diagnostic::did_you_mean(service, session.settings.keys().map(String::as_str));
        return Err(fault.into());
    };
    let Some(from) = &settings.dockerfile else {
        let message = format!("service `{service}` has no `dockerfile`: nothing is sent anywhere");
        return Err(Fault::new(Exit::Usage, message).into());
    };
    let root = &session.workspace.root;
    let folder = root.join(&from.context);
    let (found, notices) = sent::notices(root, &root.join(&from.file), &folder, &session.cancel)?;
    let shown =
        if from.context.as_os_str().is_empty() { ".".into() } else { from.context.display().to_string() };
    let ignored = match &found.ignore_file {
        Some(file) => format!("without what `{}` names", session.workspace.shown(file).display()),
        None => "whole: there is no .dockerignore".to_owned(),
    };
    report::result(&text(
        &format!("`{shown}`, {ignored}"),
        &context::size(&found.entries, LARGEST),
        &notices,
    ));
    Ok(0)
}

fn text(what: &str, size: &Size, notices: &[Notice]) -> String {
    let mut text =
        format!("{what}\n{}, {}\n", measure::plural(size.files, "file"), measure::bytes(size.bytes));
    if !size.largest.is_empty() {
        text.push_str("\nlargest\n");
    }
    for (path, bytes) in &size.largest {
        let _ = writeln!(text, "  {:>9}  {path}", measure::bytes(*bytes));
    }
    for notice in notices {
        let _ = write!(text, "\nwarning: {}: {}\n  hint: {}\n", notice.path, notice.message, notice.hint);
    }
    text
}
