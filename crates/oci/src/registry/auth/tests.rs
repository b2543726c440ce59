use std::path::Path;

use super::*;
use crate::fault::exit_of;

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn environment(folder: &Path, more: &[(&str, &str)]) -> Environment {
    let folder = folder.to_str().unwrap();
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    [("DOCKER_CONFIG", folder), ("PATH", folder)].into_iter().chain(more.iter().copied()).map(own).collect()
}

fn find(environment: &Environment, name: &str) -> anyhow::Result<Option<Credential>> {
    Credentials::load(environment)?.find(&repository(name), &Cancel::default())
}

fn password(user: &str, password: &str) -> Option<Credential> {
    Some(Credential::Password { user: user.to_owned(), password: Secret::new(password) })
}

#[test]
fn the_longest_key_of_the_first_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let auth = |pair: &str| base64::engine::general_purpose::STANDARD.encode(pair);
    let docker = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"r.example":{{"auth":"{}"}},
           "t.example":{{"identitytoken":"refresh"}},"empty.example":{{}}}}}}"#,
        auth("hub:1"),
        auth("docker:2")
    );
    std::fs::write(folder.path().join("config.json"), docker).unwrap();
    let containers = format!(
        r#"{{"auths":{{"r.example/team":{{"auth":"{}"}},"r.example/team/app":{{"auth":"{}"}}}}}}"#,
        auth("team:3:x"),
        auth("app:4")
    );
    let file = folder.path().join("auth.json");
    std::fs::write(&file, containers).unwrap();
    let environment = environment(folder.path(), &[("REGISTRY_AUTH_FILE", file.to_str().unwrap())]);
    for (name, expected) in [
        ("docker.io/library/alpine", password("hub", "1")),
        ("r.example/other", password("docker", "2")),
        ("r.example/team/other", password("team", "3:x")),
        ("r.example/team/app", password("app", "4")),
        ("r.example/teams", password("docker", "2")),
        ("t.example/a", Some(Credential::Identity(Secret::new("refresh")))),
        ("empty.example/a", None),
        ("u.example/a", None),
    ] {
        assert_eq!(find(&environment, name).unwrap(), expected, "{name}");
    }
    let shown = format!("{:?}", Credentials::load(&environment).unwrap());
    assert!(!shown.contains("refresh") && !shown.contains(&auth("app:4")), "{shown}");
}

#[test]
fn files_that_lie_are_the_machines_fault() {
    let folder = tempfile::tempdir().unwrap();
    let missing = environment(folder.path(), &[("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")]);
    assert_eq!(exit_of(&find(&missing, "r.example/a").unwrap_err()), Exit::Machine);
    let plain = environment(folder.path(), &[]);
    assert_eq!(find(&plain, "r.example/a").unwrap(), None);
    for text in
        ["{", r#"{"auths":{"r.example":{"auth":"!"}}}"#, r#"{"auths":{"r.example":{"auth":"bm9jb2xvbg=="}}}"#]
    {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        assert_eq!(exit_of(&find(&plain, "r.example/a").unwrap_err()), Exit::Machine, "{text}");
    }
}

#[cfg(unix)]
fn helper(folder: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("docker-credential-tests");
    std::fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(unix)]
#[test]
fn helpers_are_asked_and_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(folder.path(), &[]);
    for config in [r#"{"credHelpers":{"r.example":"tests"}}"#, r#"{"credsStore":"tests"}"#] {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let _ = std::fs::remove_file(folder.path().join("docker-credential-tests"));
        let missing = find(&environment, "r.example/a").unwrap_err();
        assert_eq!(exit_of(&missing), Exit::Machine);
        assert!(missing.to_string().contains("`docker-credential-tests` is not on PATH"), "{missing}");
        let answer =
            r#"read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$server" "$1-$server""#;
        helper(folder.path(), answer);
        assert_eq!(find(&environment, "r.example/a").unwrap(), password("get-r.example", "s"));
        helper(folder.path(), r#"printf '{"Username":"<token>","Secret":"s"}'"#);
        let token = Some(Credential::Identity(Secret::new("s")));
        assert_eq!(find(&environment, "r.example/a").unwrap(), token);
        helper(folder.path(), "echo credentials not found in native keychain; exit 1");
        assert_eq!(find(&environment, "r.example/a").unwrap(), None);
        for silent in ["exit 0", "echo oops; exit 1", "echo '{}'", "echo s3cr3t"] {
            helper(folder.path(), silent);
            let error = find(&environment, "r.example/a").unwrap_err();
            assert_eq!(exit_of(&error), Exit::Machine, "{silent}");
            assert!(error.to_string().contains("docker-credential-tests"), "{error}");
            assert!(!format!("{error:?}").contains("s3cr3t"));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_helper_that_hangs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(folder.path(), &[]);
    std::fs::write(folder.path().join("config.json"), r#"{"credsStore":"tests"}"#).unwrap();
    helper(folder.path(), "exec sleep 600");
    let mut credentials = Credentials::load(&environment).unwrap();
    credentials.helper_limit = Duration::from_millis(200);
    let error = credentials.find(&repository("r.example/a"), &Cancel::default()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains("`docker-credential-tests` did not answer"), "{error}");
}
