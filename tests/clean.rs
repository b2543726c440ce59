//! What `clean` removes, and what it leaves.

use crate::repository::Repository;

#[test]
fn clean_removes_what_is_made_again_and_never_the_ledger() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let (digest, recorded) = (shop.digest("api"), shop.recorded());
    shop.longshore(&["clean"]).code(0).stdout_has("removed dist and what this clone remembers: ");
    assert!(!shop.path("dist").exists() && !shop.path(".git/longshore/stat-v1").exists());
    assert_eq!(shop.recorded(), recorded);
    shop.longshore(&["clean"]).code(0).stdout_has(": 0 files, 0 B");
    shop.quick(&[]).code(0);
    assert_eq!(shop.digest("api"), digest);
    assert_eq!(shop.recorded(), recorded);
}

#[test]
fn the_store_keeps_to_its_size() {
    let shop = Repository::new();
    let store = shop.cache().join("longshore/store");
    let size = || -> u64 {
        let mut waiting = vec![store.clone()];
        let mut sum = 0;
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() { waiting.push(entry.path()) } else { sum += metadata.len() }
            }
        }
        sum
    };
    shop.longshore(&["build", "--all"]).code(0);
    assert!(size() > 2_000_000, "{}", size());
    shop.longshore(&["clean", "--max-size", "1MB"]).code(0).stdout_has("of the user's store");
    assert!(size() <= 1_000_000, "{}", size());
    shop.edit("pipeline.toml", "[services.api]", "[cache]\nmax-size = \"1kB\"\n\n[services.api]");
    shop.longshore(&["build", "--all"]).code(0);
    assert!(size() <= 1000, "{}", size());
    assert!(shop.path("dist/bin/api/linux_amd64/api").is_file());
    shop.longshore(&["clean", "--max-size", "lots"]).code(2).stderr_has("is not a size");
}
