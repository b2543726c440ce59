//! `init`: files that a repository starts with, written once and the user's from then on.

use std::path::Path;

use super::{Global, InitArgs};
use crate::cancel::Cancel;
use crate::ci::{self, Provider};
use crate::config::Located;
use crate::dockerfile::template::{self, Image, Service};
use crate::facts::go::module_of;
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::host::files;
use crate::oci::reference::{Repository, Tag};
use crate::oci::registry::{Client, Options};
use crate::report;
use crate::session::Session;

/// Writes what is asked for; never over a file that is there.
///
/// # Errors
/// [`Exit::Usage`] for a service that is not there, or a file that is.
pub fn init(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &InitArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    if let Some(name) = &args.dockerfile {
        dockerfile(&session, name, args)?;
    }
    if let Some(provider) = args.ci {
        workflow(&session, global, provider)?;
    }
    Ok(0)
}

/// The workflow of a CI system.
fn workflow(session: &Session, global: &Global, provider: Provider) -> anyhow::Result<()> {
    let text = provider.text(&ci::flow(&session.config, global.environment())?);
    let path = session.workspace.root.join(provider.path());
    match files::read_optional(&path)? {
        Some(there) if there == text.as_bytes() => {
            report::note(&format!("{} is as it should be\n", provider.path()));
        }
        Some(_) => {
            let message = format!("`{}` is there already and says something else", provider.path());
            return Err(Fault::new(Exit::Usage, message).hint("move it away, and compare the two").into());
        }
        None => {
            files::write(&path, text.as_bytes())?;
            report::note(&format!("wrote {}\n", provider.path()));
        }
    }
    Ok(())
}

fn dockerfile(session: &Session, name: &str, args: &InitArgs) -> anyhow::Result<u8> {
    let (Some(declared), Some(settings)) = (session.config.services.get(name), session.settings.get(name))
    else {
        let mut fault = Fault::new(Exit::Usage, format!("there is no service `{name}`"));
        fault.hint = crate::diagnostic::did_you_mean(name, session.settings.keys().map(String::as_str));
        return Err(fault.into());
    };
    let root = &session.workspace.root;
    let Some(package) = &settings.package else {
        let message =
            format!("service `{name}` has a `dockerfile` and no `package` that one could be written for");
        return Err(Fault::new(Exit::Usage, message).hint("write its `package` into pipeline.toml").into());
    };
    let package = root.join(package);
    let module = module_of(root, &package).ok_or_else(|| {
        let shown = session.workspace.shown(&package).display();
        Fault::new(Exit::Usage, format!("no `go.mod` at or above `{shown}`"))
    })?;
    let below = package.strip_prefix(&module).unwrap_or(Path::new(""));
    let go = settings.build.go.as_deref().unwrap_or("1");
    let golang = Image { host: "docker.io", path: "library/golang", tag: "" };
    let service = Service {
        name: name.to_owned(),
        package: if below.as_os_str().is_empty() { ".".to_owned() } else { format!("./{}", below.display()) },
        port: settings.port,
        live: settings.health.live.clone().or_else(|| settings.health.ready.clone()),
        build_args: declared
            .build_args
            .iter()
            .map(|(name, arg)| {
                (name.clone(), arg.default.as_ref().map(|Located { value, .. }| value.clone()))
            })
            .collect(),
        golang: reference(session, golang, go, args),
        base: args.base.image().map(|image| reference(session, image, image.tag, args)),
    };
    let file = package.join("Dockerfile");
    let ignore = package.join("Dockerfile.dockerignore");
    for path in [&file, &ignore] {
        if path.symlink_metadata().is_ok() {
            let shown = session.workspace.shown(path).display().to_string();
            return Err(Fault::new(Exit::Usage, format!("`{shown}` is there already"))
                .hint("move it away first: what is there is never written over")
                .into());
        }
    }
    files::write(&ignore, template::IGNORE.as_bytes())?;
    files::write(&file, template::dockerfile(&service, args.base).as_bytes())?;
    let shown = |path: &Path| {
        let path = path.strip_prefix(&session.config.root).unwrap_or(path).display().to_string();
        if path.is_empty() { ".".to_owned() } else { path }
    };
    report::result(&format!(
        "wrote {0} and {0}.dockerignore\n\nwrite into pipeline.toml, under [services.{name}]:\n\ndockerfile = \"{0}\"\ncontext = \"{1}\"\n",
        shown(&file),
        shown(&module)
    ));
    Ok(0)
}

/// An image as a Dockerfile names it, by digest where its registry tells it.
fn reference(session: &Session, image: Image, tag: &str, args: &InitArgs) -> String {
    let short = image.path.strip_prefix("library/").unwrap_or(image.path);
    let (host, path) = match args.mirror.as_deref().and_then(|mirror| mirror.split_once('/')) {
        Some((host, path)) => (host.to_owned(), format!("{path}/{short}")),
        None => (image.host.to_owned(), image.path.to_owned()),
    };
    let named = match (args.mirror.is_some(), image.host) {
        (false, "docker.io") => format!("{short}:{tag}"),
        _ => format!("{host}/{path}:{tag}"),
    };
    let client = Client::new(&session.environment, once(), &session.cancel);
    let digest = || -> anyhow::Result<Option<String>> {
        if session.offline {
            return Ok(None);
        }
        let repository = Repository::new(&host, &path)?;
        let found = client.repository(repository).manifest_by_tag(&tag.parse::<Tag>()?)?;
        Ok(found.map(|document| document.descriptor.digest.to_string()))
    };
    match digest() {
        Ok(Some(digest)) => format!("{named}@{digest}"),
        _ => {
            report::note(&format!(
                "warning: the digest of `{named}` could not be had: write `@sha256:…` behind it, since its tag may move"
            ));
            named
        }
    }
}

/// Nobody waits long for a digest that can be written in later.
fn once() -> Options {
    let mut options = Options::default();
    options.policy.retries = 0;
    options
}
