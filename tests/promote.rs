//! Promotion: the same digests from one environment to another, or the reasons why not.

use serde_json::{Value, json};

use crate::database;
use crate::deploy::get;
use crate::docker::Dockerd;
use crate::dockerfile;
use crate::gates::make_vulnerable;
use crate::process::succeed;
use crate::registry::{Registry, sha256};
use crate::repository::{Repository, Run};
use crate::shop::shop_with;

/// A shop with the environments `dev` and `prod`, each with a registry of its own, both on this machine.
pub(crate) struct Shop {
    pub(crate) repository: Repository,
    pub(crate) dev: Registry,
    pub(crate) prod: Registry,
}

impl Drop for Shop {
    fn drop(&mut self) {
        for environment in ["dev", "prod"] {
            self.repository.longshore(&["down", "--env", environment]);
        }
    }
}

impl Shop {
    fn new() -> Option<Self> {
        Self::of(Registry::start()?, Registry::start()?)
    }

    pub(crate) fn of(dev: Registry, prod: Registry) -> Option<Self> {
        let repository = shop_with(&dev).scanner()?;
        repository.append("environments/dev.toml", "[deploy]\ndriver = \"process\"\ntimeout = \"30s\"\n");
        repository.write(
            "environments/prod.toml",
            format!(
                "inherits = \"dev\"\nregistry = \"{}/live\"\n[build-args]\nAPP_ENV = \"production\"\n[deploy]\nrequire-approval = true\nmax-age = \"300d\"\n",
                prod.host()
            ),
        );
        repository.commit("ci: environments");
        repository.git(["push", "--quiet", "origin", "main"]);
        Some(Self { repository, dev, prod })
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.repository.longshore(args)
    }

    pub(crate) fn promote(&self, args: &[&str]) -> Run {
        self.run(&[&["promote", "--from", "dev", "--to", "prod", "api"], args].concat())
    }

    pub(crate) fn runs(&self, environment: &str) -> Value {
        let status = self.run(&["status", "--format", "json", "--history"]).code(0).stdout_json();
        status["environments"][environment]["services"]["api"].clone()
    }
}

#[test]
fn a_promotion_is_refused_with_its_reasons_and_then_allowed() {
    let Some(shop) = Shop::new() else { return };
    shop.promote(&[]).code(3).stderr_has("api: it never ran in `dev`");
    shop.run(&["release", "--env", "dev", "--skip", "lint,test,verify", "api"]).code(0);
    shop.promote(&[]).code(3);
    shop.run(&["deploy", "--env", "dev", "api"]).code(0);
    shop.promote(&[])
        .code(3)
        .stderr_has("api: lint was skipped when it was released")
        .stderr_has("api: verify was skipped")
        .stderr_has("no platform of it was verified as a container");
    shop.repository.edit("cmd/api/main.go", "\"api\", version", "\"next\", version");
    shop.repository.commit("fix: another one");
    shop.run(&["release", "--env", "dev", "api"]).code(0);
    shop.promote(&[]).code(3).stderr_has("lint was skipped");
    shop.run(&["deploy", "--env", "dev", "api"]).code(0);
    shop.promote(&[]).code(3).stderr_has("`prod` asks for somebody's approval of api 0.1.1");
    shop.promote(&["--approve"]).code(0).stderr_has("approved for `prod`: api 0.1.1");
    shop.promote(&["--dry-run"]).code(0).stdout_has("api 0.1.1").stdout_has("is new here");
    assert!(shop.runs("prod").is_null());
    // Nothing is compiled: there is no Go to do it.
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let mut command = shop.repository.prepared(env!("CARGO_BIN_EXE_xtask"));
    succeed(command.args(["promote", "--from", "dev", "--to", "prod", "api", "--timings"]).env("PATH", path));
    assert!(shop.repository.read("dist/timings.json").contains("deploy:api"));

    let (dev, prod) = (shop.runs("dev"), shop.runs("prod"));
    assert_eq!(prod["version"], "0.1.1");
    assert_eq!(prod["neutral"], dev["neutral"], "the same image");
    assert_ne!(prod["digest"], dev["digest"], "with prod's own values");
    let address = prod["observed"]["addresses"][0].as_str().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    assert!(get(port, "/").contains("next 0.1.1 production"), "{}", get(port, "/"));
    shop.promote(&[]).code(0).stderr_has("everything runs as in `dev`");
    let tags = shop.prod.tags("live/api");
    assert!(tags.iter().any(|tag| tag == "0.1.1"), "{tags:?}");
    shop.run(&["status", "--history"])
        .code(0)
        .stdout_has("promote   api 0.1.1  verified")
        .stdout_has("approved by ");
    // Prod goes its own way back: it has none yet.
    shop.run(&["rollback", "--env", "prod", "api"])
        .code(2)
        .stderr_has("nothing of `api` ran in `prod` before");
}

#[test]
fn a_promotion_is_agreed_to_on_a_terminal_by_yes_alone() {
    let Some(mut shop) = Shop::new() else { return };
    shop.run(&["release", "--env", "dev", "api"]).code(0);
    shop.run(&["deploy", "--env", "dev", "api"]).code(0);
    let digest = shop.runs("dev")["neutral"].as_str().unwrap().to_owned();
    let args = ["promote", "--from", "dev", "--to", "prod", "api"];
    let question = "anything else is a no:";
    for (keys, expected) in [("y\n", 3), ("\n", 3), ("no\n", 3), ("\x04", 3), ("\x03", 130)] {
        let (code, screen) = shop.repository.on_terminal(&args).shows(question).types(keys);
        assert_eq!(code, expected, "{keys:?}: {screen}");
        assert!(screen.contains("from `dev` to `prod`"), "{screen}");
        assert!(screen.contains(&format!("api 0.1.0 {digest}")), "{screen}");
        assert!(shop.runs("prod").is_null(), "{keys:?}: {screen}");
    }
    shop.repository = std::mem::replace(&mut shop.repository, Repository::empty()).env("CI", "true");
    let (code, screen) = shop.repository.on_terminal(&args).ends();
    assert!(code == 3 && screen.contains("promote --approve") && !screen.contains(question), "{screen}");
    shop.repository = std::mem::replace(&mut shop.repository, Repository::empty()).env("CI", "");
    let (code, screen) = shop.repository.on_terminal(&args).shows(question).types("yes\n");
    assert_eq!(code, 0, "{screen}");
    assert_eq!(shop.runs("prod")["neutral"], digest.as_str());
    shop.run(&["status", "--history"]).code(0).stdout_has("approved by ");
    // What runs there needs nobody's word again.
    let (code, screen) = shop.repository.on_terminal(&args).ends();
    assert!(code == 0 && screen.contains("everything runs as in `dev`"), "{screen}");
}

#[test]
fn an_old_scan_bars_promotion_until_it_is_made_again() {
    let Some(shop) = Shop::new() else { return };
    shop.run(&["release", "--env", "dev", "api"]).code(0);
    shop.run(&["deploy", "--env", "dev", "api"]).code(0);
    shop.repository.edit("environments/prod.toml", "max-age = \"300d\"", "max-age = \"1s\"");
    shop.promote(&["--approve"])
        .code(3)
        .stderr_has("`max-age` is 1s")
        .stderr_has("scan --deployed --env dev");
    shop.run(&["scan", "--deployed", "--env", "dev"]).code(0);
    let ledger = shop.repository.git(["show", "refs/longshore/env/dev:state.json"]);
    let state: Value = serde_json::from_str(&ledger).unwrap();
    let scans = state["scans"].as_object().unwrap();
    assert_eq!(scans.len(), 1);
    assert!(
        scans.values().all(|scan| scan["verdict"] == "pass" && scan["database"].is_string()),
        "{scans:?}"
    );
    // From a rehearsal nothing leads to where others are.
    shop.run(&["promote", "--from", "local", "--to", "prod"]).code(2).stderr_has("no ledger in common");
    shop.run(&["promote", "--from", "prod", "--to", "prod"]).code(2).stderr_has("the same environment");
}

#[test]
fn a_scan_of_what_runs_says_what_is_new_since_its_release() {
    let Some(registry) = Registry::start() else { return };
    let Some(shop) = shop_with(&registry).scanner() else { return };
    let id = "CVE-2020-26160";
    let earlier = tempfile::tempdir().unwrap();
    database::without(id, earlier.path());
    shop.append("environments/dev.toml", "[deploy]\ndriver = \"process\"\ntimeout = \"30s\"\n");
    make_vulnerable(&shop);
    shop.edit("cmd/api/main.go", "\t\"time\"\n", "\t\"time\"\n\n\t_ \"github.com/dgrijalva/jwt-go\"\n");
    shop.commit("fix: one that uses it");
    shop.git(["push", "--quiet", "origin", "main"]);
    let shop = shop.env("TRIVY_CACHE_DIR", earlier.path());
    shop.longshore(&["release", "--env", "dev", "--skip", "lint,test,verify", "api"]).code(0);
    shop.longshore(&["deploy", "--env", "dev", "api"]).code(0);
    let scan = ["scan", "--deployed", "--env", "dev"];
    shop.longshore(&scan).code(0).stderr_has("api 0.1.0 linux/amd64: nothing new since it was released");
    let shop = shop.env("TRIVY_CACHE_DIR", database::database());
    let new =
        format!("api 0.1.0 linux/amd64: new since it was released: {id} in github.com/dgrijalva/jwt-go");
    shop.longshore(&scan).code(3).stderr_has(&new);
    shop.longshore(&["down", "--env", "dev"]).code(0);
}

/// Where a service of an environment answers.
#[track_caller]
fn answer(shop: &Repository, environment: &str) -> String {
    let status = shop.longshore(&["status", "--format", "json"]).code(0).stdout_json();
    let api = &status["environments"][environment]["services"]["api"];
    let address = api["observed"]["addresses"][0].as_str().unwrap_or_else(|| panic!("{status:#}"));
    get(address.rsplit(':').next().unwrap().parse().unwrap(), "/")
}

#[test]
fn a_dockerfiles_service_is_promoted_as_the_targets_own_build() {
    let (Some(docker), Some(dev), Some(prod)) = (Dockerd::start(), Registry::start(), Registry::start())
    else {
        return;
    };
    let shop = dockerfile::shop("docker").env("DOCKER_HOST", docker.host());
    shop.dev(&dev.host());
    shop.append(
        "environments/dev.toml",
        "[deploy]\ndriver = \"docker\"\ntimeout = \"30s\"\nmax-age = \"300d\"\n",
    );
    let target = format!("inherits = \"dev\"\nregistry = \"{}/", prod.host());
    shop.write("environments/stage.toml", format!("{target}stage\"\n"));
    shop.write("environments/prod.toml", format!("{target}live\"\n[build-args]\nAPP_ENV = \"production\"\n"));
    shop.commit("ci: environments");
    shop.remote();
    let Some(shop) = shop.scanner() else { return };
    let promote = |to: &str| shop.longshore(&["promote", "--from", "dev", "--to", to, "api"]);
    let neutral = |environment: &str| {
        let status = shop.longshore(&["status", "--format", "json"]).code(0).stdout_json();
        status["environments"][environment]["services"]["api"]["neutral"].clone()
    };
    shop.longshore(&["release", "--env", "dev", "api"]).code(0);
    shop.longshore(&["deploy", "--env", "dev", "api"]).code(0);
    promote("prod")
        .code(3)
        .stderr_has("api: 0.1.0 has no build for `prod`, where the `ARG`s of its Dockerfile differ")
        .stderr_has("release --env prod api");
    // Where they don't differ it is the very image.
    promote("stage").code(0).stderr_lacks("a build of its own");
    assert_eq!(neutral("stage"), neutral("dev"));
    shop.longshore(&["release", "--env", "prod", "api"]).code(0);
    let built = shop.digest("api");
    promote("prod").code(0).stderr_has("api 0.1.0: `prod` has a build of its own");
    assert_eq!(neutral("prod"), built.as_str());
    assert_ne!(neutral("prod"), neutral("dev"));
    assert!(answer(&shop, "prod").contains("production"), "{}", answer(&shop, "prod"));
    assert!(answer(&shop, "stage").contains("development"), "{}", answer(&shop, "stage"));
    promote("prod").code(0).stderr_has("everything runs as in `dev`");
    for environment in ["dev", "stage", "prod"] {
        shop.longshore(&["down", "--env", environment]).code(0);
    }
}

#[test]
fn a_rehearsal_is_promoted_from_folder_to_folder() {
    let shop = Repository::new();
    shop.write(
        "environments/dev.toml",
        "registry = \"oci:dist/dev\"\n[deploy]\ntimeout = \"30s\"\nmax-age = \"300d\"\n",
    );
    let prod = "inherits = \"dev\"\nregistry = \"oci:dist/prod\"\n[build-args]\nAPP_ENV = \"production\"\n";
    shop.write("environments/prod.toml", prod).write("environments/local.toml", "");
    shop.commit("ci: environments");
    let Some(shop) = shop.scanner() else { return };
    shop.longshore(&["release", "--env", "dev", "api"]).code(0);
    shop.longshore(&["deploy", "--env", "dev", "api"]).code(0);
    let digest = shop.digest("api");
    let signature = sign(&shop, "dist/dev/api", &digest);
    shop.longshore(&["promote", "--from", "dev", "--to", "prod"]).code(0);
    assert!(answer(&shop, "prod").contains("api 0.1.0 production"), "{}", answer(&shop, "prod"));
    assert!(answer(&shop, "dev").contains("api 0.1.0 development"), "{}", answer(&shop, "dev"));
    let index = shop.read("dist/prod/api/index.json");
    assert!(
        index.contains(&digest) && index.contains("\"0.1.0\"") && index.contains("0.1.0_prod_"),
        "{index}"
    );
    // What refers to it is there, and found.
    let list: Value = serde_json::from_str(&index).unwrap();
    let tag = digest.replace(':', "-");
    let named = |found: &&Value| found["annotations"]["org.opencontainers.image.ref.name"] == tag.as_str();
    let list = list["manifests"].as_array().unwrap().iter().find(named).unwrap()["digest"].clone();
    let blob = |digest: &str| shop.read(&format!("dist/prod/api/blobs/{}", digest.replace(':', "/")));
    assert!(blob(list.as_str().unwrap()).contains(&signature));
    assert!(blob(&signature).contains("application/signature"));
    for environment in ["dev", "prod"] {
        shop.longshore(&["down", "--env", environment]).code(0);
    }
}

/// Puts an artifact with a `subject` into a layout, as other tools do; gives its digest.
fn sign(shop: &Repository, layout: &str, subject: &str) -> String {
    let put = |bytes: &str| {
        let digest = sha256(bytes.as_bytes());
        shop.write(&format!("{layout}/blobs/{}", digest.replace(':', "/")), bytes);
        digest
    };
    let config = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": put("{}"), "size": 2 });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/signature", "config": config, "layers": [config],
        "subject": { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": subject, "size": 1 },
    });
    let digest = put(&manifest.to_string());
    let mut index: Value = serde_json::from_str(&shop.read(&format!("{layout}/index.json"))).unwrap();
    let size = manifest.to_string().len();
    let entry = json!({ "mediaType": manifest["mediaType"], "digest": digest, "size": size });
    index["manifests"].as_array_mut().unwrap().push(entry);
    shop.write(&format!("{layout}/index.json"), index.to_string());
    digest
}
