//! What is believed unchanged without being read.

use crate::process::succeed;
use crate::repository::Repository;

#[test]
fn every_change_below_vendor_is_seen() {
    let shop = Repository::new();
    let line = "require example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n";
    shop.write("lib/go.mod", "module example.com/lib\n\ngo 1.26.0\n");
    shop.write("lib/lib.go", "package lib\n\nconst Word = \"one\"\n").append("go.mod", line);
    shop.append("pkg/store/store.go", "\nvar Vendored = lib.Word\n");
    shop.edit("pkg/store/store.go", "package store\n", "package store\n\nimport \"example.com/lib\"\n");
    succeed(shop.prepared("go").args(["mod", "vendor"]));
    shop.commit("feat: a vendored module");
    let state = || {
        let plan = shop.longshore(&["plan", "--all", "--snapshot", "--format", "json"]).code(0).stdout_json();
        let jobs = plan["jobs"].as_array().unwrap().clone();
        let job = jobs.iter().find(|job| job["stage"] == "build").unwrap().clone();
        (job["state"].as_str().unwrap().to_owned(), job["why"].as_str().unwrap().to_owned())
    };
    shop.longshore(&["build", "--all", "--snapshot"]).code(0);
    assert_eq!(state().0, "cached");
    let lib = "vendor/example.com/lib";
    // What is edited keeps its size and its times.
    let file = shop.path(&format!("{lib}/lib.go"));
    let times = std::fs::metadata(&file).unwrap();
    shop.edit(&format!("{lib}/lib.go"), "\"one\"", "\"two\"");
    let times = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
    std::fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
    let (now, why) = state();
    assert_eq!(now, "run");
    assert!(why.starts_with(lib), "{why}");
    shop.longshore(&["build", "--all", "--snapshot"]).code(0);
    assert_eq!(state().0, "cached");
    for (name, text) in [("more.go", "package lib\n"), ("data.txt", "x\n")] {
        shop.write(&format!("{lib}/{name}"), text);
        assert_eq!(state().0, "run", "{name} is new");
        std::fs::remove_file(shop.path(&format!("{lib}/{name}"))).unwrap();
        assert_eq!(state().0, "cached", "{name} is gone");
    }
    shop.append("vendor/modules.txt", "# example.com/other v1.0.0\n");
    assert!(!shop.longshore(&["build", "--all", "--snapshot"]).stderr.contains("cached build"));
}

#[test]
fn an_executable_that_was_touched_is_made_again() {
    let shop = Repository::new();
    shop.longshore(&["build", "--all", "--snapshot"]).code(0);
    let binary = shop.path("dist/bin/api/linux_amd64/api");
    let good = std::fs::read(&binary).unwrap();
    let build = || shop.longshore(&["build", "--all", "--snapshot"]).code(0).stderr_has("cached build");
    for _ in 0..2 {
        build();
        let mut bad = good.clone();
        bad[1000] ^= 1;
        let times = std::fs::metadata(&binary).unwrap().modified().unwrap();
        std::fs::write(&binary, bad).unwrap();
        let times = std::fs::FileTimes::new().set_modified(times);
        std::fs::File::options().write(true).open(&binary).unwrap().set_times(times).unwrap();
        build();
        assert_eq!(std::fs::read(&binary).unwrap(), good);
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    std::fs::remove_file(&binary).unwrap();
    build();
    assert_eq!(std::fs::read(&binary).unwrap(), good);
}
