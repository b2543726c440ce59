//! Sixteen processes share the user's cache while its files are harmed and evicted: what they get is what a build
//! without it makes. `LONGSHORE_PROPERTY_SECONDS` says for how long (20 unless it is set).

#![expect(clippy::print_stderr, reason = "how far it went")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::property::{Module, Random, number, seed};
use crate::repository::Repository;

#[test]
fn sixteen_processes_a_vandal_and_an_evictor_share_one_cache() {
    let seed = seed();
    let end = Instant::now() + Duration::from_secs(number("LONGSHORE_PROPERTY_SECONDS", 20));
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("longshore/store");
    let ended = AtomicBool::new(false);
    // Until all workers have ended; gives how often it did something.
    let meanwhile = |pause: u64, work: &mut dyn FnMut() -> bool| {
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            count += usize::from(work());
            std::thread::sleep(Duration::from_millis(pause));
        }
        count
    };
    std::thread::scope(|threads| {
        let vandal = threads.spawn(|| {
            let mut random = Random(seed);
            meanwhile(20, &mut || harm(&store, &mut random))
        });
        let evictor = threads.spawn(|| {
            let mut random = Random(seed ^ 0x5555);
            let shop = Repository::new().env("XDG_CACHE_HOME", home.path());
            meanwhile(200, &mut || {
                let size = format!("{}kB", random.below(8000));
                let run = shop.longshore(&["clean", "--max-size", &size]).code(0);
                !run.stdout.starts_with("removed 0 files")
            })
        });
        let workers: Vec<_> = (0..16)
            .map(|worker| {
                let home = &home;
                threads.spawn(move || {
                    // Two share each history, so that one finds what the other has made.
                    let mut module = Module::new(seed.wrapping_add(worker / 2) | 1);
                    module.shop = module.shop.env("XDG_CACHE_HOME", home.path());
                    let mut rounds = 0;
                    while rounds == 0 || Instant::now() < end {
                        let done = module.step();
                        assert_eq!(
                            module.cached(),
                            module.fresh(),
                            "seed {seed}, worker {worker}, round {rounds}: {done}"
                        );
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let rounds: Vec<_> = workers.into_iter().map(|worker| worker.join().ok()).collect();
        ended.store(true, Ordering::Relaxed);
        let (harmed, evicted) = (vandal.join().unwrap(), evictor.join().unwrap());
        assert!(rounds.iter().all(Option::is_some), "a worker with a wrong result");
        let rounds: usize = rounds.into_iter().flatten().sum();
        assert!(harmed > 0 && evicted > 0, "nothing was harmed ({harmed}) or evicted ({evicted})");
        eprintln!(
            "16 processes, {rounds} rounds, {harmed} files harmed, evicted {evicted} times, seed {seed}"
        );
    });
}

/// Changes a byte of a file of the cache, cuts it off or removes it.
fn harm(store: &Path, random: &mut Random) -> bool {
    let mut files = Vec::new();
    let mut waiting = vec![store.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { waiting.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    if files.is_empty() {
        return false;
    }
    let path = random.pick(&files).clone();
    let Ok(mut bytes) = std::fs::read(&path) else { return false };
    if bytes.is_empty() {
        return false;
    }
    match random.below(3) {
        0 => std::fs::remove_file(&path).is_ok(),
        1 => std::fs::File::options()
            .write(true)
            .open(&path)
            .is_ok_and(|file| file.set_len(bytes.len() as u64 / 2).is_ok()),
        _ => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            std::fs::write(&path, bytes).is_ok()
        }
    }
}
