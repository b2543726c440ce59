//! What a Go executable says of itself: its toolchain and modules, its sections, and how much code each
//! package has. Pure, over the bytes of an ELF or PE file; a number in them is never believed: what points
//! out of the file is not there.
//!
//! A stripped executable has no symbols, but always the table by which Go's runtime finds functions
//! (`pclntab`: runtime/symtab.go, debug/gosym) and what `go version -m` prints (debug/buildinfo).

use std::collections::BTreeMap;

use serde::Serialize;

/// The table's first word since Go 1.18, and since Go 1.20.
const MAGIC: [u64; 2] = [0xffff_fff0, 0xffff_fff1];
const BUILD_INFO: &[u8] = b"\xff Go buildinf:";

/// Longer names are cut: what says the package stands first.
const NAME_LIMIT: usize = 4096;

/// The parts of a file that a program is loaded from, and those that only debuggers and linkers read.
const SYMBOLS: &[&str] = &[".symtab", ".strtab", ".gosymtab"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// As `go1.26.8`; absent where the file says nothing of it.
    pub toolchain: Option<String>,
    /// The main package's path.
    main: Option<String>,
    /// Path and version; the main module is the first.
    modules: Vec<(String, String)>,
    sections: Vec<Section>,
    functions: Functions,
    /// Of the file, in bytes.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: String,
    offset: usize,
    size: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Functions {
    count: usize,
    /// Bytes of code by package; what the compiler makes by itself is of none, "".
    packages: BTreeMap<String, u64>,
}

/// What a part of an executable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The code of a package.
    Package,
    /// A section of the file, code aside.
    Section,
}

/// A part of an executable; all parts together are the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub kind: Kind,
    /// The module that a package is of, with its version; empty for a section.
    pub module: String,
    pub name: String,
    /// In bytes.
    pub size: u64,
}

impl Executable {
    /// Reads one; `None` where the bytes are no Go executable of a form that is known.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (view, mut sections) = elf(bytes).or_else(|| pe(bytes))?;
        sections.retain(|section| section.size > 0 && section.offset + section.size <= bytes.len());
        sections.sort_by_key(|section| section.offset);
        // The section of that name first: the others only where a linker has put the table elsewhere.
        let mut searched: Vec<&Section> = sections.iter().collect();
        searched.sort_by_key(|section| !section.name.ends_with("pclntab"));
        let functions = searched.iter().find_map(|section| {
            let starts = (section.offset..section.offset + section.size).step_by(4);
            starts
                .filter(|at| view.u32(*at).is_some_and(|word| MAGIC.contains(&word)))
                .find_map(|at| table(view.behind(at)?))
        })?;
        let info = sections.iter().find_map(|section| {
            let mut starts = (section.offset..section.offset + section.size).step_by(16);
            let at = starts.find(|at| bytes[*at..].starts_with(BUILD_INFO))?;
            build_info(&bytes[at..])
        });
        let (toolchain, text) = info.map_or((None, String::new()), |(version, text)| (Some(version), text));
        let (main, modules) = modules(&text);
        Some(Self { toolchain, main, modules, sections, functions, size: bytes.len() as u64 })
    }

    pub fn functions(&self) -> usize {
        self.functions.count
    }

    /// Packages, then sections, each by name. The section of the code is what no function of Go's has.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut code = 0;
        for (package, size) in &self.functions.packages {
            code += size;
            let name = match (package.as_str(), &self.main) {
                ("", _) => "made by the compiler".to_owned(),
                ("main", Some(main)) => main.clone(),
                _ => package.clone(),
            };
            parts.push(Part { kind: Kind::Package, module: self.module(package, &name), name, size: *size });
        }
        let mut sections: BTreeMap<&str, u64> = BTreeMap::new();
        for section in &self.sections {
            let name = match section.name.as_str() {
                name if name.starts_with(".debug") || name.starts_with(".zdebug") => "debug information",
                name if SYMBOLS.contains(&name) => "symbols",
                name => name,
            };
            let mut size = section.size as u64;
            if name == ".text" {
                size = size.saturating_sub(code);
            }
            *sections.entry(name).or_default() += size;
        }
        let known: u64 = code + sections.values().sum::<u64>();
        *sections.entry("headers and gaps").or_default() += self.size.saturating_sub(known);
        parts.extend(sections.into_iter().filter(|(_, size)| *size > 0).map(|(name, size)| Part {
            kind: Kind::Section,
            module: String::new(),
            name: name.to_owned(),
            size,
        }));
        parts
    }

    fn module(&self, package: &str, path: &str) -> String {
        let inside = |module: &str| {
            path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found =
            self.modules.iter().filter(|(module, _)| inside(module)).max_by_key(|(module, _)| module.len());
        match found {
            Some((module, version)) if version.is_empty() || version == "(devel)" => module.clone(),
            Some((module, version)) => format!("{module} {version}"),
            None if package == "main" => path.to_owned(),
            None => "standard library".to_owned(),
        }
    }
}

/// Bytes with the order and width of the file's numbers.
#[derive(Clone, Copy)]
struct View<'a> {
    bytes: &'a [u8],
    big: bool,
    wide: bool,
}

impl<'a> View<'a> {
    fn behind(self, at: usize) -> Option<Self> {
        Some(Self { bytes: self.bytes.get(at..)?, ..self })
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    fn u16(&self, at: usize) -> Option<usize> {
        self.number(at, 2).and_then(|number| usize::try_from(number).ok())
    }

    fn u32(&self, at: usize) -> Option<u64> {
        self.number(at, 4)
    }

    fn offset(&self, at: usize) -> Option<usize> {
        self.number(at, 4).and_then(|number| usize::try_from(number).ok())
    }

    /// An address or a size, as wide as the file's are.
    fn word(&self, at: usize) -> Option<usize> {
        self.number(at, if self.wide { 8 } else { 4 }).and_then(|number| usize::try_from(number).ok())
    }

    /// Up to a zero, and no longer than any name is.
    fn text(&self, at: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(at..)?;
        let rest = &rest[..rest.len().min(NAME_LIMIT)];
        Some(rest.split(|byte| *byte == 0).next().unwrap_or(rest))
    }
}

/// The sections of an ELF file (System V ABI, "Sections") that have bytes in it.
fn elf(bytes: &[u8]) -> Option<(View<'_>, Vec<Section>)> {
    const NOBITS: u64 = 8;
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let view = View { bytes, wide: *bytes.get(4)? == 2, big: *bytes.get(5)? == 2 };
    // Where the table stands; the size of an entry; its offset and size fields.
    let (table, entry, offset, size) = if view.wide { (40, 58, 24, 32) } else { (32, 46, 16, 20) };
    let (start, length) = (view.word(table)?, view.u16(entry)?);
    let at = |number: usize| start.checked_add(number.checked_mul(length)?);
    let names = view.word(at(view.u16(entry + 4)?)?.checked_add(offset)?)?;
    let mut sections = Vec::new();
    for number in 0..view.u16(entry + 2)? {
        let head = at(number)?;
        if view.u32(head + 4)? == NOBITS {
            continue;
        }
        let name = view.text(names.checked_add(view.offset(head)?)?)?;
        sections.push(section(name, view.word(head + offset)?, view.word(head + size)?)?);
    }
    Some((view, sections))
}

/// Those of a PE file (Microsoft's "PE Format").
fn pe(bytes: &[u8]) -> Option<(View<'_>, Vec<Section>)> {
    const SYMBOL: usize = 18;
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let view = View { bytes, wide: false, big: false };
    let head = view.offset(0x3c)?;
    if !bytes.get(head..)?.starts_with(b"PE\0\0") {
        return None;
    }
    let symbols = (view.offset(head + 12)?, view.offset(head + 16)?.checked_mul(SYMBOL)?);
    let names = symbols.0.checked_add(symbols.1)?;
    let first = head + 24 + view.u16(head + 20)?;
    let mut sections = Vec::new();
    for number in 0..view.u16(head + 6)? {
        let at = first + 40 * number;
        let name = view.text(at)?;
        let name = &name[..name.len().min(8)];
        // Longer ones stand behind the symbols.
        let far =
            std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix('/')?.parse::<usize>().ok());
        let name = far.and_then(|far| view.text(names.checked_add(far)?)).unwrap_or(name);
        sections.push(section(name, view.offset(at + 20)?, view.offset(at + 16)?)?);
    }
    if symbols.1 > 0 {
        let strings = view.offset(names).unwrap_or(0);
        sections.push(section(b".symtab", symbols.0, symbols.1.checked_add(strings)?)?);
    }
    Some((view, sections))
}

fn section(name: &[u8], offset: usize, size: usize) -> Option<Section> {
    offset.checked_add(size)?;
    Some(Section { name: shown(name), offset, size })
}

/// As a terminal may see it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The functions of a `pclntab` that begins where the view does: `runtime.pcHeader`, then for each function
/// where it begins and where its `runtime._func` is; where the last one ends; their names.
fn table(view: View<'_>) -> Option<Functions> {
    let (quantum, pointer) = (*view.bytes.get(6)?, *view.bytes.get(7)?);
    if view.u16(4)? != 0 || ![1, 2, 4].contains(&quantum) || ![4, 8].contains(&pointer) {
        return None;
    }
    // A PE file's own numbers are narrow, whatever its addresses are.
    let view = View { wide: pointer == 8, ..view };
    let word = |number: usize| view.word(8 + number * usize::from(pointer));
    let (count, names, functions) = (word(0)?, word(3)?, word(7)?);
    let mut found = Functions { count, packages: BTreeMap::new() };
    view.behind(functions)?.bytes.get(..count.checked_mul(8)?.checked_add(4)?)?;
    for number in 0..count {
        let at = functions + 8 * number;
        let size = view.u32(at + 8)?.checked_sub(view.u32(at)?)?;
        let function = functions.checked_add(view.offset(at + 4)?)?;
        let name = view.text(names.checked_add(view.offset(function.checked_add(4)?)?)?)?;
        let package = package(name);
        match found.packages.get_mut(&package) {
            Some(sum) => *sum += size,
            None => {
                found.packages.insert(package, size);
            }
        }
    }
    (count > 0).then_some(found)
}

/// The package of a function's name, as `net/http.(*Client).Do` or `example.com/a.F[go.shape.int]`.
fn package(name: &[u8]) -> String {
    let name = shown(name);
    let name = name.split('[').next().unwrap_or_default();
    if ["go:", "type:", "go.", "type."].iter().any(|made| name.starts_with(made)) {
        return String::new();
    }
    let last = name.rfind('/').unwrap_or(0);
    let Some(dot) = name[last..].find('.') else { return String::new() };
    unescape(&name[..last + dot])
}

/// Undoes what the linker does to dots and the like in a path's last part: `yaml%2ev3`.
fn unescape(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(u8::is_ascii_graphic) {
            Some(byte) => text.extend([char::from(byte)].into_iter().chain(part[2..].chars())),
            None => text.extend(['%'].into_iter().chain(part.chars())),
        }
    }
    text
}

/// The toolchain, and the text that `go version -m` prints: since Go 1.18 two strings behind a head of 32
/// bytes, each after its length.
fn build_info(bytes: &[u8]) -> Option<(String, String)> {
    const INLINE: u8 = 2;
    if bytes.get(15)? & INLINE == 0 {
        return None;
    }
    let mut rest = bytes.get(32..)?;
    let mut string = || {
        let (mut length, mut shift) = (0usize, 0u32);
        loop {
            let (first, more) = rest.split_first()?;
            rest = more;
            length |= usize::from(first & 0x7f).checked_shl(shift)?;
            shift += 7;
            if first & 0x80 == 0 {
                break;
            }
        }
        let (text, more) = rest.split_at_checked(length)?;
        rest = more;
        Some(text)
    };
    let version = shown(string()?);
    // Between two marks of 16 bytes.
    let text = string().and_then(|text| text.get(16..text.len().checked_sub(16)?)).unwrap_or_default();
    Some((version, String::from_utf8_lossy(text).into_owned()))
}

/// The main package and the modules of such a text.
fn modules(text: &str) -> (Option<String>, Vec<(String, String)>) {
    let (mut main, mut modules) = (None, Vec::new());
    for line in text.lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next()) {
            (Some("path"), Some(path)) => main = Some(shown(path.as_bytes())),
            (Some("mod" | "dep"), Some(path)) => {
                let version = words.next().unwrap_or_default();
                modules.push((shown(path.as_bytes()), shown(version.as_bytes())));
            }
            _ => {}
        }
    }
    (main, modules)
}

#[cfg(test)]
mod tests;
