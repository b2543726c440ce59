//! What a change reaches, and through which imports.

use serde_json::{Value, json};

use crate::repository::Repository;

/// `orders` imports `internal/cart`, which imports `pkg/price`, which imports the module
/// `example.com/money`; `mail` has nothing of them but imports `example.com/text`.
fn shop() -> Repository {
    let shop = Repository::empty();
    let package = |name: &str, import: &str, word: &str| {
        format!("package {name}\n\nimport \"{import}\"\n\nvar Word = {word} + \"x\"\n")
    };
    for (module, name) in [("money", "money"), ("text", "text")] {
        shop.write(&format!("third/{module}/go.mod"), format!("module example.com/{module}\n\ngo 1.26.0\n"));
        shop.write(
            &format!("third/{module}/{module}.go"),
            format!("package {name}\n\nvar Word = \"{name}\"\n"),
        );
    }
    shop.write("go.mod", MODULE)
        .write("pkg/price/price.go", package("price", "example.com/money", "money.Word"))
        .write("internal/cart/cart.go", package("cart", "example.com/shop/pkg/price", "price.Word"))
        .write("cmd/orders/main.go", "package main\n\nimport \"example.com/shop/internal/cart\"\n\nfunc main() { println(cart.Word) }\n")
        .write("cmd/mail/main.go", "package main\n\nimport \"example.com/text\"\n\nfunc main() { println(text.Word) }\n")
        .write("README.md", "# Shop\n")
        .write("pipeline.toml", PIPELINE)
        .write(".gitignore", "/dist\n");
    shop.commit("feat: a shop");
    shop
}

/// The reasons that `plan --since REF` gives for each service.
#[track_caller]
fn since(shop: &Repository, commit: &str) -> Value {
    let run = shop.longshore(&["plan", "--since", commit, "--format", "json", "--skip", "scan"]).code(0);
    let plan = run.stdout_json();
    let services = plan["services"].as_object().unwrap();
    services.iter().map(|(name, service)| (name.clone(), service["reasons"].clone())).collect()
}

#[test]
fn a_plan_names_the_chain_of_imports_that_reached_a_service() {
    let shop = shop();
    let base = shop.git(["rev-parse", "HEAD"]).trim().to_owned();
    assert_eq!(since(&shop, &base), json!({ "mail": [], "orders": [] }));

    shop.append("README.md", "More.\n").append("pkg/price/price.go", "\nvar More = 1\n");
    let chain = "pkg/price/price.go changed: pkg/price → internal/cart → cmd/orders";
    assert_eq!(since(&shop, &base), json!({ "mail": [], "orders": [chain] }), "uncommitted");
    shop.commit("feat: more");
    assert_eq!(since(&shop, &base), json!({ "mail": [], "orders": [chain] }));
    let text = shop.longshore(&["plan", "--since", &base, "--skip", "scan"]).code(0);
    let text = text.stdout_has(&format!("  {chain}\n"));
    assert!(!text.stdout.contains("mail:"), "no job of the other: {text}");

    // A release of what is affected leaves the other for later.
    shop.longshore(&["release", "--since", &base, "--skip", crate::shop::QUICK]).code(0);
    assert_eq!(shop.artifacts()["services"]["mail"], Value::Null);
    assert_eq!(shop.planned(&[]), "mail 0.1.0");
}

#[test]
fn a_bump_touches_only_the_importers_of_its_module() {
    let shop = shop();
    shop.edit("go.mod", "money v1.0.0", "money v1.1.0").commit("fix: money");
    let bump = "example.com/money v1.0.0 => ./third/money → v1.1.0 => ./third/money in go.mod: \
                example.com/money → pkg/price → internal/cart → cmd/orders";
    assert_eq!(since(&shop, "HEAD~"), json!({ "mail": [], "orders": [bump] }));
    shop.append("third/text/text.go", "\nvar More = 1\n").commit("feat: text");
    let chain = "third/text/text.go changed: third/text → cmd/mail";
    assert_eq!(since(&shop, "HEAD~"), json!({ "mail": [chain], "orders": [] }));
    shop.edit("go.mod", "go 1.26.0", "go 1.26.1").commit("chore: go");
    let both = json!(["`go` of go.mod changed"]);
    assert_eq!(since(&shop, "HEAD~"), json!({ "mail": both, "orders": both }));
}

#[test]
fn settings_branches_and_hidden_edits_count() {
    let shop = shop();
    shop.edit("pipeline.toml", "[services.mail]", "[services.mail]\nport = 25").commit("feat: a port");
    let settings = json!(["its settings in the pipeline's file changed"]);
    assert_eq!(since(&shop, "HEAD~"), json!({ "mail": settings, "orders": [] }));

    // What happened on the other side since the branches parted is nothing of this one's.
    shop.git(["checkout", "--quiet", "-b", "topic"]);
    shop.append("cmd/mail/main.go", "\nvar topic = 1\n").commit("feat: topic");
    shop.git(["checkout", "--quiet", "main"]);
    shop.append("cmd/orders/main.go", "\nvar main2 = 1\n").commit("feat: main");
    shop.git(["checkout", "--quiet", "topic"]);
    assert_eq!(since(&shop, "main"), json!({ "mail": ["cmd/mail/main.go changed"], "orders": [] }));

    for mark in ["skip-worktree", "assume-unchanged"] {
        shop.git(["update-index", &format!("--{mark}"), "cmd/orders/main.go"]);
        shop.append("cmd/orders/main.go", "\n// hidden\n");
        let found = since(&shop, "HEAD");
        assert_eq!(found, json!({ "mail": [], "orders": ["cmd/orders/main.go changed"] }), "{mark}");
        shop.quick(&[]).code(4).stderr_has("cmd/orders/main.go");
        shop.git(["update-index", &format!("--no-{mark}"), "cmd/orders/main.go"]);
        shop.git(["checkout", "--", "cmd/orders/main.go"]);
    }
}

const MODULE: &str = "module example.com/shop

go 1.26.0

require (
	example.com/money v1.0.0
	example.com/text v1.0.0
)

replace (
	example.com/money => ./third/money
	example.com/text => ./third/text
)
";

const PIPELINE: &str = r#"version = 1

[project]
name = "shop"
platforms = ["linux/amd64"]

[services.mail]
package = "cmd/mail"

[services.orders]
package = "cmd/orders"
"#;
