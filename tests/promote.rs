//! Promotion: the same digests from one environment to another, or the reasons why not.

use serde_json::Value;

use crate::database;
use crate::deploy::get;
use crate::gates::make_vulnerable;
use crate::process::succeed;
use crate::registry::Registry;
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
    succeed(command.args(["promote", "--from", "dev", "--to", "prod", "api"]).env("PATH", path));

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
