//! `docs/benchmarks.md`: how it is made, then a table a work and size. A new result takes the old one's place, so
//! that a long benchmark can be made in parts.

use std::collections::BTreeMap;

use clap::ValueEnum as _;

use super::table::Table;
use super::work::Work;

const HEAD: &str = "# Benchmarks

```console
$ cargo xtask bench --write
```

This page is made by that command; `--services N,…` and `--only WORK,…` make a part of it, `--quick` makes it rough. It
needs Go and Git, `docker-registry` (Debian's package) for ko and the push, and the first time the network: ko and GoReleaser
are built at fixed versions from the Go module proxy into the user's cache. All 13 works at 1, 8, 64 and 256 services take
hours, nearly all of them Go's.

A module of N services is generated (`xtask/src/bench/workload.rs`): each a server over one package that all share, with
chi, zap and Prometheus' client, and over three of N packages that import each other in layers. Every tool has a clone with a
home and a Go cache of its own, and is told the same: no cgo, `-trimpath`, `-ldflags=\"-s -w\"`, no network, modules
downloaded. Longshore is this repository's own `cargo xtask`, in the profile that everybody runs, without `cargo run` around
it (0.16 s); it makes `release --snapshot` without lint, test, scan and verify, which the others don't have: facts, plan,
build, images in a layout, pushed to a layout. ko makes the same images in a layout, on a base without files that it pulls
from a registry on loopback. GoReleaser makes executables alone.

- **Vendored**: the services also link client-go, kubectl, the library of Kubernetes' API servers and three of AWS' clients, in
  `vendor/`: about 1,500 packages.
- **Cold**: no compile cache, no cache of the tool's, no results. **Compile cache warm**: that alone is there.
- **One line**: a constant in a file changes and is committed; then all is built again. In one command the peer is `go build`
  of that command.
- **Ten environments**: one `image --env` that names ten, beside one that names one.
- **Push**: everything is built, the registry is empty.
- **Plan**: beside `go list -deps` of the commands, for one platform.

The tools take turns, and who begins changes with each round. Times are the median with the least and the most; a ratio is
of the two measurements of one round, below 1 where Longshore takes less. *Processors* is the time of the tool and all its
children on all cores. *Own memory* is the peak of resident memory of the tool itself (`VmHWM`), *largest process* that of
the largest among it and its children: mostly a compiler or linker.
Where the load before is above the number of cores, the machine was busy with something else too: believe the ratios, and
not the times.
";

/// The page with the table in its place; what it had of others is kept.
pub(super) fn merged(before: &str, table: &Table) -> String {
    let mut parts = parts(before);
    parts.insert((table.services, table.work), table.render());
    let mut page = HEAD.to_owned();
    let mut size = None;
    for ((services, work), text) in parts {
        if size.replace(services) != Some(services) {
            page.push_str(&format!("\n## {}\n", longshore::report::measure::plural(services, "service")));
        }
        let mut title = work.title().to_owned();
        title.get_mut(..1).map(str::make_ascii_uppercase);
        page.push_str(&format!("\n### {title}\n\n<!-- {services} {} -->\n{}\n", name(work), text.trim_end()));
        page.push_str("<!-- end -->\n");
    }
    page
}

fn name(work: Work) -> String {
    work.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The tables that a page holds.
fn parts(page: &str) -> BTreeMap<(usize, Work), String> {
    let mut parts = BTreeMap::new();
    for part in page.split("<!-- ").skip(1) {
        let Some((mark, text)) = part.split_once(" -->\n") else { continue };
        let Some((services, work)) = mark.split_once(' ') else { continue };
        if let (Ok(services), Ok(work)) = (services.parse(), Work::from_str(work, false)) {
            parts.insert((services, work), text.to_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(services: usize, work: Work) -> Table {
        Table { work, services, rows: Vec::new(), load: String::new(), peers: String::new() }
    }

    #[test]
    fn a_new_result_takes_the_old_ones_place_and_leaves_the_others() {
        let first = merged(&merged("", &table(8, Work::Plan)), &table(1, Work::Cold));
        let marks = |page: &str| {
            page.lines()
                .filter(|line| line.starts_with("<!-- ") && !line.contains("end"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(marks(&first), ["<!-- 1 cold -->", "<!-- 8 plan -->"]);
        let edited = first.replace("<!-- 1 cold -->\nLeft out", "<!-- 1 cold -->\nKept");
        let second = merged(&edited, &table(8, Work::Nothing));
        assert_eq!(marks(&second), ["<!-- 1 cold -->", "<!-- 8 nothing -->", "<!-- 8 plan -->"]);
        assert!(second.contains("Kept: this machine"), "{second}");
        assert_eq!(merged(&second, &table(8, Work::Nothing)), second);
    }
}
