//! What builds Dockerfiles here, and which services need it.

use std::collections::BTreeMap;

use super::{Check, Needs, State, ill, well};
use crate::config::Engine;
use crate::stage::image::dockerfile::look;
use crate::tools::Setup;

/// A service that is built from a Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    pub service: String,
    pub engine: Engine,
    /// A named builder of buildx.
    pub builder: Option<String>,
}

const ENGINES: [(Engine, &str, &str); 3] = [
    (
        Engine::Buildx,
        "buildx",
        "install docker's component buildx, and start docker: `systemctl start docker`",
    ),
    (Engine::Docker, "docker's BuildKit", "`apt-get install docker.io`, and `systemctl start docker`"),
    (Engine::Buildah, "buildah", "`apt-get install buildah`"),
];

pub(super) fn engines(needs: &Needs<'_>, setup: &Setup<'_>) -> Vec<Check> {
    if needs.dockerfiles.is_empty() {
        return Vec::new();
    }
    let answer = |engine, builder: Option<&str>| look(engine, builder, setup.environment, setup.cancel);
    let mut checks = of_engines(needs.dockerfiles, |engine| answer(engine, None));
    checks.extend(of_builders(needs.dockerfiles, |builder| answer(Engine::Buildx, Some(builder))));
    checks
}

/// Each engine: found, missing for those that name it, or not needed. `auto` needs any of them.
fn of_engines(dockerfiles: &[Dockerfile], answer: impl Fn(Engine) -> Result<String, String>) -> Vec<Check> {
    let by = |engine: Engine| {
        let needs = |one: &&Dockerfile| one.engine == engine && one.builder.is_none();
        names(dockerfiles.iter().filter(needs))
    };
    let any = by(Engine::Auto);
    let mut checks = Vec::new();
    let mut reasons = Vec::new();
    let mut found = false;
    for (engine, name, remedy) in ENGINES {
        let named = by(engine);
        match answer(engine) {
            Ok(version) => {
                let first = if found { "" } else { any.as_str() };
                found = true;
                let users: Vec<&str> =
                    [named.as_str(), first].into_iter().filter(|users| !users.is_empty()).collect();
                let users =
                    if users.is_empty() { String::new() } else { format!(", for {}", users.join(", ")) };
                checks.push(well(name, format!("{version}{users}")));
            }
            Err(why) if !named.is_empty() => {
                checks.push(ill(name, State::Missing, why, &format!("by {named}"), remedy));
            }
            Err(why) => {
                checks.push(well(name, "not here, and not needed"));
                reasons.push(format!("{name}: {why}"));
            }
        }
    }
    if !found && !any.is_empty() {
        let absent = |check: &Check| check.found != "not here, and not needed";
        checks.retain(absent);
        let remedy = "`apt-get install buildah`, or docker with buildx, started; or name a `builder`";
        let needed = format!("any engine, by {any}");
        checks.push(ill("Dockerfiles", State::Missing, reasons.join("; "), &needed, remedy));
    }
    checks
}

fn of_builders(dockerfiles: &[Dockerfile], answer: impl Fn(&str) -> Result<String, String>) -> Vec<Check> {
    let mut users: BTreeMap<&str, Vec<&Dockerfile>> = BTreeMap::new();
    for one in dockerfiles {
        if let Some(builder) = &one.builder {
            users.entry(builder).or_default().push(one);
        }
    }
    let check = |(builder, users): (&str, Vec<&Dockerfile>)| {
        let (name, users) = (format!("builder {builder}"), names(users.into_iter()));
        match answer(builder) {
            Ok(version) => well(&name, format!("answers to buildx {version}, for {users}")),
            Err(why) => {
                let remedy = format!(
                    "start it, or `docker buildx create --name {builder} --driver remote tcp://HOST:PORT`"
                );
                ill(&name, State::Missing, why, &format!("by {users}"), &remedy)
            }
        }
    };
    users.into_iter().map(check).collect()
}

fn names<'a>(dockerfiles: impl Iterator<Item = &'a Dockerfile>) -> String {
    dockerfiles.map(|one| format!("`{}`", one.service)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(service: &str, engine: Engine, builder: Option<&str>) -> Dockerfile {
        Dockerfile { service: service.into(), engine, builder: builder.map(str::to_owned) }
    }

    #[test]
    fn each_engine_is_told_with_who_needs_it() {
        let services = [of("api", Engine::Auto, None), of("web", Engine::Buildah, None)];
        let told = |here: &[Engine]| -> Vec<(String, State, String)> {
            let answer = |engine| {
                if here.contains(&engine) { Ok("1.0".to_owned()) } else { Err("no".to_owned()) }
            };
            let checks = of_engines(&services, answer);
            checks.into_iter().map(|check| (check.name, check.state, check.found)).collect()
        };
        assert_eq!(
            told(&[Engine::Docker]),
            [
                ("buildx".to_owned(), State::Ok, "not here, and not needed".to_owned()),
                ("docker's BuildKit".to_owned(), State::Ok, "1.0, for `api`".to_owned()),
                ("buildah".to_owned(), State::Missing, "no".to_owned()),
            ]
        );
        let none = told(&[]);
        assert_eq!(none.len(), 2, "{none:?}");
        assert_eq!((none[0].0.as_str(), none[1].0.as_str()), ("buildah", "Dockerfiles"));
        assert_eq!(told(&[Engine::Buildah])[2].2, "1.0, for `web`, `api`");
    }

    #[test]
    fn a_builder_that_is_gone_is_missing() {
        let services = [of("api", Engine::Auto, Some("far")), of("web", Engine::Buildx, Some("far"))];
        let checks = of_builders(&services, |_| Err("no answer".to_owned()));
        assert_eq!((checks.len(), checks[0].state), (1, State::Missing));
        assert!(checks[0].needed.contains("`api`, `web`") && checks[0].remedy.contains("--name far"));
    }
}
