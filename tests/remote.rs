//! A release into a real registry, with a bare Git remote: what is published in which order, races,
//! and runs that were killed.

use std::time::{Duration, Instant};

use crate::deploy::killed_after;
use crate::docker::Dockerd;
use crate::process::{free_port, run};
use crate::registry::Registry;
use crate::repository::{Repository, exit_code};
use crate::shop::{QUICK, shop_below, shop_with};

const DEV: &[&str] = &["--env", "dev"];

/// What the bare remote has: `REF OBJECT`.
fn remote_refs(shop: &Repository) -> Vec<String> {
    let listed = shop.git(["ls-remote", "origin"]);
    listed.lines().filter_map(|line| line.split('\t').nth(1)).map(str::to_owned).collect()
}

/// The digest that a tag has in the registry.
fn tagged(registry: &Registry, service: &str, tag: &str) -> String {
    let skopeo = crate::tool::find("skopeo").unwrap();
    let image = format!("docker://{}/team/{service}:{tag}", registry.host());
    let raw = run(skopeo, ["inspect", "--tls-verify=false", "--raw", &image]);
    crate::registry::sha256(raw.as_bytes())
}

#[test]
fn a_release_is_published_in_its_order() {
    let (Some(registry), Some(_)) = (Registry::start(), crate::tool::tool("skopeo")) else { return };
    let shop = shop_with(&registry);
    let head = shop.git(["rev-parse", "HEAD"]).trim().to_owned();
    shop.quick(DEV).code(0);
    let refs = remote_refs(&shop);
    assert!(refs.contains(&"refs/longshore/releases".to_owned()), "{refs:?}");
    for name in ["api", "web"] {
        let digest = shop.digest(name);
        assert_eq!(registry.tags(&format!("team/{name}")), ["0.1.0".to_owned(), format!("sha-{head}")]);
        assert_eq!(tagged(&registry, name, "0.1.0"), digest);
        // Annotated, with the digest.
        assert!(refs.contains(&format!("refs/tags/{name}/v0.1.0^{{}}")), "{refs:?}");
        let tag = shop.git(["cat-file", "tag", &format!("{name}/v0.1.0")]);
        assert!(tag.contains(&digest), "{tag}");
    }
    // The registry's own log has the tags after everything that they name.
    let log = registry.log();
    let put = |what: &str| {
        log.lines().filter(|line| line.contains("\"PUT /v2/team/")).position(|line| line.contains(what))
    };
    assert!(put("/manifests/sha256:") < put("/manifests/0.1.0"), "{log}");
    let tip = shop.git(["ls-remote", "origin", "refs/longshore/releases"]);
    shop.quick(DEV).code(0);
    assert_eq!(shop.git(["ls-remote", "origin", "refs/longshore/releases"]), tip);
}

#[test]
fn of_two_clones_that_race_both_end_with_one_release() {
    let Some(registry) = Registry::start() else { return };
    let shop = shop_with(&registry);
    let other = shop.clone_of_remote();
    let args = [&["release", "--skip", QUICK], DEV].concat();
    let (mut one, mut two) = (shop.start(&args), other.start(&args));
    let codes = [drain(&mut one), drain(&mut two)];
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 5].contains(code)), "{codes:?}");
    // Whoever lost is told so, or found the same release there.
    shop.quick(DEV).code(0);
    other.quick(DEV).code(0);
    assert_eq!(shop.digest("api"), other.digest("api"));
    let commits = shop.git(["ls-remote", "origin", "refs/longshore/releases"]);
    let tip = commits.split('\t').next().unwrap().to_owned();
    shop.git(["fetch", "--quiet", "origin", "refs/longshore/releases"]);
    assert_eq!(shop.git(["rev-list", "--count", &tip]).trim(), "1");
}

/// Waits for a child and gives its exit code; what it printed is lost.
fn drain(child: &mut std::process::Child) -> i32 {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let _ = std::io::copy(&mut err, &mut std::io::sink());
    let _ = reader.join();
    exit_code(child.wait().unwrap())
}

#[test]
fn a_run_killed_after_any_of_its_events_is_finished_by_the_next() {
    let Some(registry) = Registry::start() else { return };
    let args = [&["release", "--skip", QUICK], DEV].concat();
    let mut events = 0;
    loop {
        let shop = shop_below(&registry, &format!("team-{events}"));
        // Each record of the journal is written before its event is told.
        if !killed_after(&shop, &args, events) {
            break;
        }
        shop.quick(DEV).code(0);
        let refs = remote_refs(&shop);
        for name in ["api", "web"] {
            let tags = registry.tags(&format!("team-{events}/{name}"));
            assert!(tags.contains(&"0.1.0".to_owned()), "killed after {events}: {tags:?}");
            assert!(refs.contains(&format!("refs/tags/{name}/v0.1.0")), "killed after {events}: {refs:?}");
        }
        // The registry is the judge of the bytes: who builds them anew finds them there.
        if events % 4 == 0 {
            let digests = (shop.digest("api"), shop.digest("web"));
            let clone = shop.clone_of_remote();
            clone.quick(DEV).code(0);
            assert_eq!((clone.digest("api"), clone.digest("web")), digests, "killed after {events}");
        }
        events += 1;
    }
    assert!(events > 10, "there are more events than {events}");
}

#[test]
fn a_release_half_done_is_mended_from_another_clone_without_a_compile() {
    let Some(registry) = Registry::start() else { return };
    if crate::tool::tool("skopeo").is_none() {
        return;
    }
    let shop = shop_with(&registry);
    shop.quick(DEV).code(0);
    let digest = shop.digest("api");
    shop.git(["push", "--quiet", "origin", ":refs/tags/api/v0.1.0"]);
    registry.remove_tag("team/api", "0.1.0");
    let clone = shop.clone_of_remote();
    // No Go program can be compiled there.
    let broken = clone.env("GOFLAGS", "-nonsense");
    broken.quick(DEV).code(0);
    assert!(remote_refs(&shop).contains(&"refs/tags/api/v0.1.0".to_owned()));
    assert_eq!(tagged(&registry, "api", "0.1.0"), digest);
    assert!(!broken.path("dist/bin").exists(), "nothing was compiled");
}

#[test]
fn a_version_that_is_of_another_commit_is_a_conflict() {
    let Some(registry) = Registry::start() else { return };
    let shop = shop_with(&registry);
    let other = shop.clone_of_remote();
    shop.quick(DEV).code(0);
    // The remote's tag is moved by somebody.
    shop.commit("docs: nothing");
    shop.git(["push", "--quiet", "--force", "origin", "HEAD:refs/tags/api/v0.1.0"]);
    let run = other.quick(DEV).code(5);
    assert!(run.stderr.contains("api/v0.1.0"), "{run}");
}

#[test]
fn dockerd_runs_what_was_pushed() {
    let Some(registry) = Registry::start() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let shop = shop_with(&registry);
    shop.quick(&["--env", "dev", "api"]).code(0);
    let image = format!("{}/team/api@{}", registry.host(), shop.digest("api"));
    docker.docker(&["pull", "--quiet", &image]);
    let port = free_port();
    docker.docker(&[
        "run",
        "--detach",
        "--name=api",
        "--network=host",
        "--env",
        &format!("SERVER_PORT={port}"),
        &image,
    ]);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        if get(port, "/healthz").starts_with("HTTP/1.1 200") {
            assert!(get(port, "/").contains("api 0.1.0 development"), "{}", get(port, "/"));
            docker.docker(&["rm", "--force", "api"]);
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no answer: {}", docker.docker(&["logs", "api"]));
}

/// The whole answer to a GET, empty where there is none.
fn get(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut answer = String::new();
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return answer };
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer
}
