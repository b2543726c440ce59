//! The files of a repository, read and checked: all faults of all of them in one run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::check::{Declared, check_config};
use crate::config::file::{parse, read};
use crate::config::read::{Faults, Table, read_document};
use crate::config::{Config, Environment, EnvironmentFile, PipelineFile, paths};
use crate::diagnostic::{Diagnostic, Diagnostics, Level, Place, Source};
use crate::fault::{Exit, Fault};

/// Reads `file` (relative to `root`, or absolute) and the `environments/` beside it, and checks them.
///
/// # Errors
/// All faults at once, as [`Diagnostics`]; or [`Exit::Usage`] where there is no such file.
pub fn load(root: &Path, file: &Path) -> anyhow::Result<Config> {
    let (config, diagnostics) = check(root, file)?;
    match config {
        Some(config) => Ok(config),
        None => Err(Diagnostics(diagnostics).into()),
    }
}

/// As [`load`], and tells of warnings too. Without a configuration there is at least one error.
///
/// # Errors
/// [`Exit::Usage`] where there is no such file.
pub fn check(root: &Path, file: &Path) -> anyhow::Result<(Option<Config>, Vec<Diagnostic>)> {
    let path = root.join(file);
    let folder = path.parent().unwrap_or(root).to_owned();
    let mut diagnostics = Vec::new();
    let pipeline = match read(&path, shown(root, &path)) {
        Ok(Some(source)) => Some(source),
        Ok(None) => {
            let fault = Fault::new(Exit::Usage, format!("there is no `{}`", shown(root, &path).display()))
                .hint("write one with `[project]` and a `[services.NAME]` for each service, or name another with `-f`");
            return Err(fault.into());
        }
        Err(fault) => {
            diagnostics.push(*fault);
            None
        }
    };
    let (environments, complete) = environments(root, &folder, &mut diagnostics)?;
    let config = match pipeline {
        Some(source) => assemble(root, folder, source, environments, complete, &mut diagnostics),
        None => {
            for source in environments.values() {
                document::<EnvironmentFile>(source, &mut diagnostics);
            }
            None
        }
    };
    sort(&mut diagnostics);
    let faulty = diagnostics.iter().any(|diagnostic| diagnostic.level == Level::Error);
    Ok((config.filter(|_| !faulty), diagnostics))
}

/// The configuration that `text` was as the pipeline's file `path`, for a comparison: without environments,
/// and not checked. `None` where it can't be read.
pub fn earlier(root: &Path, path: &Path, text: &str) -> Option<Config> {
    let source = Arc::new(Source { path: shown(root, path).to_owned(), text: text.to_owned() });
    let mut faults = Vec::new();
    let (_, parsed) = document::<PipelineFile>(&source, &mut faults);
    let folder = path.parent().unwrap_or(root).to_owned();
    (parsed && faults.is_empty())
        .then(|| assemble(root, folder, source, BTreeMap::new(), true, &mut faults))
        .flatten()
}

/// The path as the user knows it: relative to the root where it lies inside.
fn shown<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// The sources of `environments/*.toml` by name, and whether all of them could be read.
fn environments(
    root: &Path,
    folder: &Path,
    diagnostics: &mut Vec<Diagnostic>,
) -> anyhow::Result<(BTreeMap<String, Arc<Source>>, bool)> {
    let mut sources = BTreeMap::new();
    let mut complete = true;
    let folder = folder.join("environments");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((sources, complete)),
        Err(error) => {
            return Err(error)
                .with_context(|| Fault::new(Exit::Usage, format!("could not read `{}`", folder.display())));
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("could not read `{}`", folder.display()))?;
    paths.sort();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
    {
        let shown = shown(root, &path);
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| valid_name(name));
        let Some(name) = name else {
            complete = false;
            diagnostics.push(
                Diagnostic::error(format!("the name of `{}` can't be an environment's", shown.display()))
                    .hint("an environment's name is lowercase letters and digits, with `-` between them: it is in tags and refs"),
            );
            continue;
        };
        match read(&path, shown) {
            Ok(Some(source)) => {
                sources.insert(name.to_owned(), source);
            }
            // Gone since it was listed.
            Ok(None) => {}
            Err(fault) => {
                complete = false;
                diagnostics.push(*fault);
            }
        }
    }
    Ok((sources, complete))
}

fn valid_name(name: &str) -> bool {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 40 && name.split('-').all(plain)
}

/// One file's table, its faults noted, and whether it parsed.
fn document<T: Table>(source: &Arc<Source>, diagnostics: &mut Vec<Diagnostic>) -> (T, bool) {
    let mut faults = Faults::new(Arc::clone(source));
    let parsed = parse(&source.text, &mut faults);
    faults.broken = parsed.broken;
    let count = faults.found.len();
    let table = read_document(&parsed.table, &mut faults);
    // Around a syntax error the parser guesses: what it guessed is no fault of the user's.
    let read = faults.found.split_off(count);
    let mut guessed = guessed(&source.text, &faults.found);
    guessed.extend(parsed.unclosed.map(|from| from..usize::MAX));
    let start = |fault: &Diagnostic| fault.place.as_ref().map_or(0, |(place, _)| place.span.start);
    faults.found.extend(
        read.into_iter()
            .filter(|fault| !parsed.broken || !guessed.iter().any(|range| range.contains(&start(fault)))),
    );
    diagnostics.append(&mut faults.found);
    (table, !parsed.broken)
}

/// The bytes that syntax errors make a guess: their line, and the whole table of a broken header.
fn guessed(text: &str, errors: &[Diagnostic]) -> Vec<std::ops::Range<usize>> {
    let range = |error: &Diagnostic| {
        let (place, _) = error.place.as_ref()?;
        let at = place.span.start.min(text.len());
        let from = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(from..)?;
        let end = if line.trim_start().starts_with('[') { line.find("\n[") } else { line.find('\n') };
        Some(from..end.map_or(text.len(), |end| from + end + 1))
    };
    errors.iter().filter_map(range).collect()
}

fn assemble(
    root: &Path,
    folder: PathBuf,
    source: Arc<Source>,
    sources: BTreeMap<String, Arc<Source>>,
    complete: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let (file, parsed) = document::<PipelineFile>(&source, diagnostics);
    let declared = Declared { services: parsed, environments: complete };
    let mut environments = BTreeMap::new();
    for (name, source) in sources {
        let (file, _) = document::<EnvironmentFile>(&source, diagnostics);
        environments.insert(name.clone(), named(name, Some(source), file));
    }
    if environments.is_empty() && declared.environments {
        let name = "local".to_owned();
        environments.insert(name.clone(), named(name, None, EnvironmentFile::default()));
    }
    let mut config = Config {
        root: folder,
        source,
        project: file.project,
        tools: file.tools,
        build: file.build,
        image: file.image,
        stages: file.stages,
        cache: file.cache,
        deploy: file.deploy,
        services: file.services,
        environments,
        dockerfiles: BTreeMap::new(),
    };
    let facts = paths::gather(root, &config);
    diagnostics.extend(check_config(&config, &file.version, &declared, &facts));
    let read = facts.dockerfiles.into_iter().filter_map(|(file, source)| Some((file, source.ok()?)));
    config.dockerfiles = read.collect();
    Some(config)
}

fn named(name: String, source: Option<Arc<Source>>, file: EnvironmentFile) -> Environment {
    Environment {
        name,
        source,
        inherits: file.inherits,
        registry: file.registry,
        build_args: file.build_args,
        env: file.env,
        secrets: file.secrets,
        stages: file.stages,
        cache: file.cache,
        deploy: file.deploy,
        services: file.services,
    }
}

/// By file (`pipeline.toml` first, as it was read) and place; the same fault only once.
fn sort(diagnostics: &mut Vec<Diagnostic>) {
    fn key(diagnostic: &Diagnostic) -> (bool, PathBuf, usize) {
        match &diagnostic.place {
            Some((Place { source, span }, _)) => {
                // Files in folders come after those at the root.
                (source.path.components().count() > 1, source.path.clone(), span.start)
            }
            None => (true, PathBuf::new(), 0),
        }
    }
    diagnostics.sort_by_key(key);
    diagnostics.dedup_by(|a, b| key(a) == key(b) && a.message == b.message);
}
