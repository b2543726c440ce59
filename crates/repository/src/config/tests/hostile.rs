//! What a file can hold that it should not: each is located, and told with a remedy.

use super::{PIPELINE, Repository};

/// The short file with `from` replaced.
fn with(from: &str, to: &str) -> Repository {
    assert!(PIPELINE.contains(from));
    Repository::new().file("pipeline.toml", PIPELINE.replace(from, to))
}

#[test]
fn syntax_errors() {
    with("name = \"shop\"", "name = \"shop").says(&["pipeline.toml:3:13", "invalid TOML"]);
    with("port = 8080", "port = ").says(&["pipeline.toml:6:8", "invalid TOML"]);
    with("[project]", "[project").says(&["pipeline.toml:2:9", "unclosed table"]);
    with("{} }", "{}").says(&["invalid TOML"]);
    Repository::with("needs = [\"orders\"\nb = 2\nc = 3\n[services.orders]\nd = 4\n")
        .says(&["missing comma", "is a `]` or a `}` missing"]);
    Repository::new().file("environments/local.toml", "a b\n").says(&["environments/local.toml:1:"]);
}

#[test]
fn a_syntax_error_does_not_hide_other_faults_nor_make_up_any() {
    let text =
        with("name = \"shop\"", "name = \"shop").file("environments/local.toml", "[buildargs]\n").faults();
    assert_eq!(text.matches("error:").count(), 2, "{text}");
    assert!(text.contains("did you mean `build-args`?"), "{text}");
    let text = with("[project]\nname = \"shop\"", "[project]\nname = \nplatform = []").faults();
    assert_eq!(text.matches("error:").count(), 2, "{text}");
    assert!(text.contains("did you mean `platforms`?"), "{text}");
}

#[test]
fn unknown_keys() {
    with("port", "prot").says(&[
        "pipeline.toml:6:1",
        "unknown key `prot` in `[services.gateway]`",
        "did you mean `port`?",
    ]);
    Repository::with("[stages.scna]\n").says(&["unknown key `scna` in `[stages]`", "did you mean `scan`?"]);
    Repository::with("[tools]\nrust = \"1.2.3\"\n").says(&["unknown key `rust`", "`golangci-lint`"]);
}

#[test]
fn duplicates_name_both_places() {
    Repository::with("[services.gateway]\n").says(&[
        "duplicate key `gateway`",
        "pipeline.toml:8:11",
        "again here",
        "pipeline.toml:4:11",
        "first here",
    ]);
    with("port = 8080", "port = 8080\nport = 8081").says(&["pipeline.toml:7:1", "pipeline.toml:6:1"]);
    with("APP_ENV = \"development\"", "APP_ENV = \"a\", APP_ENV = \"b\"")
        .says(&["duplicate key `APP_ENV`", "first here"]);
    Repository::with("[project]\nregistry = \"oci:x\"\n")
        .says(&["duplicate key `project`", "pipeline.toml:2:2"]);
    // The same key in two tables of a list is none.
    Repository::with("[[stages.scan.ignore]]\nid = \"A\"\nreason = \"a\"\n[[stages.scan.ignore]]\nid = \"B\"\nreason = \"b\"\n").config();
}

#[test]
fn nesting_size_and_encoding() {
    let deep = format!("{PIPELINE}x = {}", "[".repeat(20_000));
    Repository::new().file("pipeline.toml", deep).says(&["nested too deeply", "pipeline.toml:8:"]);
    let deep = format!("{PIPELINE}{}x = 1", "a.".repeat(20_000));
    Repository::new().file("pipeline.toml", deep).says(&["nested too deeply"]);
    let deep = format!("{PIPELINE}x = {}", "{a=".repeat(20_000));
    Repository::new().file("pipeline.toml", deep).says(&["nested too deeply"]);
    let large = format!("{PIPELINE}#{}", " ".repeat(50_000_000));
    Repository::new()
        .file("pipeline.toml", large)
        .says(&["too large a file: `pipeline.toml`", "at most 1048576"]);
    let mut bytes = PIPELINE.as_bytes().to_vec();
    bytes.extend(b"# \xff\n");
    Repository::new().file("pipeline.toml", bytes).says(&["not UTF-8", "pipeline.toml:8:3", "byte 0xff"]);
    Repository::new().file("environments/local.toml", b"# \xc3\x28\n").says(&["environments/local.toml:1:3"]);
}

#[cfg(unix)]
#[test]
fn a_fifo_does_not_hang() {
    let repository = Repository::new();
    let path = repository.root().join("pipeline.toml");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    repository.says(&["not a file: `pipeline.toml`"]);
}

#[test]
fn cycles_are_printed() {
    Repository::with(
        "needs = [\"orders\"]\n[services.orders]\npackage = \"cmd/orders\"\nneeds = [\"gateway\"]\n",
    )
    .says(&[
        "services that need each other: gateway -> orders -> gateway",
        "pipeline.toml:8:10",
        "pipeline.toml:11:10",
    ]);
    Repository::new()
        .file("environments/local.toml", "inherits = \"dev\"\n")
        .file("environments/dev.toml", "inherits = \"local\"\n")
        .says(&["environments that inherit each other: dev -> local -> dev", "environments/local.toml:1:12"]);
    Repository::new().file("environments/local.toml", "inherits = \"local\"\n").says(&["local -> local"]);
    Repository::new()
        .file("environments/local.toml", "[build-args]\nAPP_ENV = \"{DB_HOST}\"\nDB_HOST = \"{APP_ENV}\"\n")
        .says(&["build-args that hold each other: APP_ENV -> DB_HOST -> APP_ENV"]);
}

#[test]
fn names_that_are_not_there() {
    with("name = \"shop\"", "name = \"shop\"\nenvironment = \"prud\"")
        .file("environments/prod.toml", "")
        .says(&["there is no environment `prud`", "did you mean `prod`?", "pipeline.toml:4:15"]);
    Repository::new()
        .file("environments/prod.toml", "")
        .says(&["the default environment `local` is not there"]);
    Repository::with("needs = [\"gatewey\"]\n").says(&["`gatewey`, which is not declared"]);
    Repository::new().file("environments/local.toml", "inherits = \"dv\"\n").says(&["inherits `dv`"]);
    Repository::new()
        .file("environments/local.toml", "[services.gatway.env]\nA = \"b\"\n")
        .says(&["there is no service `gatway`", "did you mean `gateway`?"]);
    Repository::new().file("environments/Local.toml", "").says(&["the name of `environments/Local.toml`"]);
}

#[test]
fn versions_of_the_future() {
    Repository::with("[stages.scan]\nversion = 7\n")
        .says(&["stage `scan` has no version 7", "newer than this build"]);
    Repository::with("[stages.scan]\nversion = 0\n").says(&["the first version is 1"]);
    with("version = 1", "version = 2").says(&["pipeline.toml:1:11", "upgrade longshore"]);
    with("version = 1\n", "").says(&["missing key `version`"]);
}

#[test]
fn paths_stay_inside() {
    let package = |path: &str| with("cmd/gateway", path);
    package("../x").says(&["pipeline.toml:5:11", "`../x` leads out of the repository"]);
    package("cmd/../../x").says(&["leads out of the repository"]);
    package("/etc").says(&["`/etc` is absolute"]);
    package("C:/x").says(&["is absolute"]);
    package("cmd/nope").says(&["`cmd/nope` is not there"]);
    with("\"cmd/gateway\"", "'cmd\\gateway'").says(&["write `cmd/gateway`"]);
    package("").says(&["must not be empty"]);
    package("pipeline.toml").says(&["is a file"]);
    package("./cmd/orders/../gateway").config();
    Repository::with("files = { \"/etc/x\" = \"../x\" }\n").says(&["leads out of the repository"]);
    Repository::with("files = { \"etc/x\" = \"pipeline.toml\" }\n").says(&["is not a file of an image"]);
}

#[cfg(unix)]
#[test]
fn a_symlink_does_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let repository = with("cmd/gateway", "cmd/link");
    std::os::unix::fs::symlink(outside.path(), repository.root().join("cmd/link")).unwrap();
    repository.says(&["`cmd/link` leads out of the repository", "a symlink leads to"]);
    let repository = with("cmd/gateway", "cmd/link");
    std::os::unix::fs::symlink("gateway", repository.root().join("cmd/link")).unwrap();
    repository.config();
}

#[test]
fn one_image_repository_for_two_services() {
    let text = Repository::with("[services.Gateway]\npackage = \"cmd/orders\"\n").faults();
    assert!(text.contains("services `Gateway` and `gateway` have one image repository"), "{text}");
    Repository::with(
        "tag = \"v{version}\"\n[services.orders]\npackage = \"cmd/orders\"\ntag = \"v{version}\"\n",
    )
    .says(&["have the same Git tags"]);
    with("name = \"shop\"", "name = \"shop\"\ntag = \"v{version}\"").config();
}

#[test]
fn build_args() {
    let local = |text: &str| Repository::new().file("environments/local.toml", text);
    local("[build-args]\nAPP_EVN = \"x\"\n")
        .says(&["no service declares build-arg `APP_EVN`", "did you mean `APP_ENV`?"]);
    local("[services.gateway.build-args]\nNEW = \"x\"\n")
        .says(&["service `gateway` does not declare build-arg `NEW`", "[services.gateway.build-args]"]);
    local("[build-args]\nAPP_ENV = \"{HOST}\"\n")
        .says(&["declares no build-arg `HOST`", "environments/local.toml:2:12"]);
    local("[build-args]\nAPP_ENV = '{\"a\": 1}'\n").says(&["for a brace itself write `{{`"]);
    local("[build-args]\nAPP_ENV = 3\n").says(&["must be a string, not an integer", "`\"3\"`"]);
    with("DB_HOST = {}", "DB_HOST = { default = \"x\" }").says(&["must be a default or `{}`"]);
    with("DB_HOST", "\"DB HOST\"").says(&["is not a variable's name"]);
}

#[test]
fn secrets_are_refused_and_not_shown() {
    let token = format!("{}_{}", "ghp", "a1B2".repeat(9));
    for (repository, place) in [
        (with("DB_HOST = {}", "DB_PASSWORD = {}"), "pipeline.toml:7"),
        (with("DB_HOST = {}", &format!("DB_HOST = \"{token}\"")), "pipeline.toml:7"),
        (
            Repository::new()
                .file("environments/local.toml", format!("[build-args]\nDB_HOST = \"x {token}\"\n")),
            "local.toml:2",
        ),
        (Repository::with(&format!("[image]\nlabels = {{ x = \"{token}\" }}\n")), "pipeline.toml:9"),
    ] {
        repository.says(&[place, "[secrets]"]);
        assert!(!repository.faults().contains("a1B2"), "{}", repository.faults());
    }
    let text = Repository::new().file("environments/local.toml", format!("[secrets]\nA = \"{token}\"\n"));
    text.says(&["does not say where the secret comes from"]);
    assert!(!text.faults().contains("a1B2"));
    Repository::new()
        .file(
            "environments/local.toml",
            "[secrets]\nA = \"env\"\nB = { file = \"/x\" }\nC = { env = \"D\" }\n",
        )
        .config();
}

#[test]
fn tag_forms() {
    let form = |form: &str| with("name = \"shop\"", &format!("name = \"shop\"\ntag = \"{form}\""));
    form("v{version}+build").says(&["a `+` can't be in a tag", "pipeline.toml:4:18"]);
    form("{service}").says(&["must hold `{version}`"]);
    form("{servic}/{version}").says(&["unknown name `servic`", "did you mean `{service}`?"]);
    form("v {version}").says(&["is not a Git tag"]);
    form("-{version}").says(&["is not a Git tag"]);
    form("v{version").says(&["a `{` that stands alone"]);
    Repository::with("[build]\nldflags = [\"-X main.v={versoin}\"]\n").says(&["did you mean `{version}`?"]);
}

#[test]
fn bad_values() {
    let project = |line: &str| with("name = \"shop\"", &format!("name = \"shop\"\n{line}"));
    let digest = "sha256:".to_owned() + &"0".repeat(64);
    project("platforms = [\"linux/amd65\"]").says(&["pipeline.toml:4:14", "`amd65`"]);
    project("platforms = [\"linux/amd64\", \"linux/amd64/v1\"]")
        .says(&["platform `linux/amd64` twice", "first here"]);
    project("platforms = \"linux/amd64\"").says(&["must be a list, not a string"]);
    project("registry = \"team/app\"").says(&["`team` is not a registry's host"]);
    project("registry = \"r.example.com/Team\"").says(&["`Team`"]);
    project("registry = \"r.example.com:99999/team\"").says(&["bad port"]);
    project("registry = \"r.example.com/team:1\"").says(&["has a tag"]);
    project("registry = \"oci:../x\"").says(&["leads out of the repository"]);
    project("ledger = \"longshore\"").says(&["is not a prefix of Git refs"]);
    let image = |line: &str| Repository::with(&format!("[image]\n{line}\n"));
    image("base = \"debian\"").says(&["is not a registry's host"]);
    image("base = \"docker.io/library/debian:12\"").says(&["has no digest"]);
    image("base = \"docker.io/library/debian@sha256:12\"").says(&["is not a digest", "pipeline.toml:9:34"]);
    image(&format!("base = \"docker.io/library/debian:1+2@{digest}\""))
        .says(&["`1+2` is not an image tag", "`+`"]);
    image(&format!("base = \"docker.io/library/debian:12@{digest}\"")).config();
    image("user = \"root\"").says(&["`root` is not a user"]);
    image("compression = \"zst\"").says(&["did you mean `zstd`?"]);
    image("compression = \"zst:3\"").says(&["did you mean `zstd`?", "pipeline.toml:9:16"]);
    image("compression = \"zstd:20\"").says(&[
        "`20` is no level of zstd",
        "from 1 to 19",
        "pipeline.toml:9:21",
    ]);
    for level in ["", "0", "10", "03", "+3", "3:3", "fast", "999"] {
        image(&format!("compression = \"gzip:{level}\"")).says(&["is no level of gzip"]);
    }
    image("compression = 9").says(&["must be a string"]);
    image("compression = \"zstd:19\"").config();
    image("tags = [\"0\"]").says(&["`latest`"]);
    let tools = |line: &str| Repository::with(&format!("[tools]\n{line}\n"));
    tools("go = \"1.26\"").says(&["is not an exact version"]);
    tools("go = \"go1.26.8\"").says(&["write `1.26.8`"]);
    tools("go = \"1.26rc1\"").config();
    tools("trivy = \"v0.69.3\"").says(&["write `0.69.3`"]);
    tools("trivy = \"0.69.4\"").says(&["malicious", "write `0.69.3`"]);
    tools("trivy = \"latest\"").says(&["is not an exact version"]);
    let scan = |line: &str| Repository::with(&format!("[stages.scan]\n{line}\n"));
    scan("timeout = \"10 parsecs\"").says(&["is not a duration"]);
    scan("timeout = 10").says(&["must be a string"]);
    scan("timeout = \"0s\"").says(&["longer than nothing"]);
    scan("severity = [\"HIHG\"]").says(&["did you mean `HIGH`?"]);
    scan("ignore = [{ id = \"CVE-1\" }]").says(&["missing key `reason` in `[stages.scan.ignore]`"]);
    scan("ignore = [{ id = \"CVE-1\", reason = \" \" }]").says(&["must not be empty"]);
    scan("ignore = [{ id = \"CVE-1\", reason = \"x\", until = \"2026-02-30\" }]").says(&["is not a date"]);
    scan("ignore = [{ id = \"CVE-1\", reason = \"x\", until = 2026-02-28 }]").config();
    scan("db-repository = \"x\"").says(&["`x` is not a registry's host"]);
    scan("db-repository = \"127.0.0.1:5000/x/trivy-db:2\"").config();
    Repository::with("[stages.push]\nchunk = \"8 MegaByte\"\n").says(&["is not a size"]);
    Repository::with("[stages.push]\nchunk = \"99999999999999GiB\"\n").says(&["is not a size"]);
    Repository::with("[stages.push]\nretries = -1\n").says(&["out of range", "expected 0 to 1000"]);
    Repository::with("[stages.push]\nretries = 99999999999999999999999999999999999999999999\n")
        .says(&["out of range"]);
    with("8080", "0").says(&["out of range", "expected 1 to 65535"]);
    with("port = 8080", "port = 8080\nhealth = { live = \"healthz\" }").says(&["is not an HTTP path"]);
    with("port = 8080", "health = { live = \"/healthz\" }").says(&["has `health` and no `port`"]);
    with("[services.gateway]", "[services]\ngateway = 3\n[other]").faults();
    Repository::new()
        .file("pipeline.toml", "version = 1\n[project]\nname = \"x\"\n")
        .says(&["no service is declared"]);
}
