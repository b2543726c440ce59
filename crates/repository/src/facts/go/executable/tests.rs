use super::*;

/// Name, bytes of code; each in the order of the text.
const FUNCTIONS: &[(&str, u32)] = &[
    ("main.main", 100),
    ("runtime.mallocgc", 60),
    ("example.com/shop/pkg/a.F[go.shape.int_0]", 16),
    ("example.com/shop/pkg/a.(*T).M.func1", 32),
    ("gopkg.in/yaml%2ev3.Marshal", 48),
    ("type:.eq.example.com/shop.T", 8),
    ("_rt0_amd64_linux", 8),
];

fn pclntab() -> Vec<u8> {
    let mut names = Vec::new();
    let (mut table, mut bodies) = (Vec::new(), Vec::new());
    let mut entry = 0u32;
    let bodies_at = u32::try_from(FUNCTIONS.len() * 8 + 4).unwrap();
    for (name, size) in FUNCTIONS {
        table.extend(entry.to_le_bytes());
        table.extend((bodies_at + u32::try_from(bodies.len()).unwrap()).to_le_bytes());
        bodies.extend(entry.to_le_bytes());
        bodies.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        names.extend(name.bytes().chain([0]));
        entry += size;
    }
    table.extend(entry.to_le_bytes());
    let head = 8 + 8 * 8;
    let words = [FUNCTIONS.len(), 0, 0, head, 0, 0, 0, head + names.len()];
    let mut bytes = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    bytes.extend(words.iter().flat_map(|word| (*word as u64).to_le_bytes()));
    [bytes, names, table, bodies].concat()
}

fn info() -> Vec<u8> {
    let mark = "m".repeat(16);
    let text = format!(
        "{mark}path\texample.com/shop/cmd/web\nmod\texample.com/shop\t(devel)\t\ndep\tgopkg.in/yaml.v3\tv3.0.1\th1:x\n{mark}"
    );
    let mut bytes = [BUILD_INFO, &[8, INLINE_FLAG], &[0; 16]].concat();
    bytes.push(9);
    bytes.extend(b"go1.26.8 ".iter());
    bytes.push(u8::try_from(text.len() & 0x7f).unwrap() | 0x80);
    bytes.push(u8::try_from(text.len() >> 7).unwrap());
    bytes.extend(text.bytes());
    bytes
}

const INLINE_FLAG: u8 = 2;

/// Sections one after the other, each at a multiple of 64, then their table.
fn elf_of(sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<u8> = sections.iter().flat_map(|(name, _)| name.bytes().chain([0])).collect();
    let mut all = sections.to_vec();
    all.push(("", names));
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let (mut heads, mut name_at) = (Vec::new(), 0u32);
    for (name, content) in &all {
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        let mut head = vec![0; 64];
        head[..4].copy_from_slice(&name_at.to_le_bytes());
        head[4] = 1;
        head[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        head[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        heads.extend(head);
        bytes.extend(content);
        name_at += u32::try_from(name.len() + 1).unwrap();
    }
    let at = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&at.to_le_bytes());
    bytes[58] = 64;
    bytes[60] = u8::try_from(all.len()).unwrap();
    bytes[62] = u8::try_from(all.len() - 1).unwrap();
    bytes.extend(heads);
    bytes
}

fn sample() -> Vec<u8> {
    elf_of(&[
        (".text", vec![0x90; 300]),
        (".gopclntab", pclntab()),
        (".go.buildinfo", info()),
        (".debug_line", vec![1; 40]),
        (".zdebug_info", vec![1; 2]),
    ])
}

#[test]
fn packages_and_sections_are_the_whole_file() {
    let bytes = sample();
    let found = Executable::read(&bytes).unwrap();
    assert_eq!(found.toolchain.as_deref(), Some("go1.26.8 "));
    assert_eq!(found.functions(), FUNCTIONS.len());
    let parts = found.parts();
    let packages: Vec<(&str, &str, u64)> = parts
        .iter()
        .filter(|part| part.kind == Kind::Package)
        .map(|part| (part.module.as_str(), part.name.as_str(), part.size))
        .collect();
    let expected = [
        ("standard library", "made by the compiler", 16),
        ("example.com/shop", "example.com/shop/pkg/a", 48),
        ("gopkg.in/yaml.v3 v3.0.1", "gopkg.in/yaml.v3", 48),
        ("example.com/shop", "example.com/shop/cmd/web", 100),
        ("standard library", "runtime", 60),
    ];
    assert_eq!(packages, expected);
    let section = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.size);
    assert_eq!(section("debug information"), Some(42));
    assert_eq!(section(".text"), Some(300 - 272));
    assert_eq!(parts.iter().map(|part| part.size).sum::<u64>(), bytes.len() as u64);
}

#[test]
fn damaged_bytes_are_no_executable_or_another_one() {
    let bytes = sample();
    for end in 0..bytes.len() {
        let _ = Executable::read(&bytes[..end]).map(|found| found.parts());
    }
    for at in 0..bytes.len() {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let _ = Executable::read(&damaged).map(|found| found.parts());
        }
    }
    let words = [u64::MAX, u64::MAX / 2, 1 << 63, 1 << 31];
    for at in (0..bytes.len() - 8).step_by(4) {
        for word in words {
            let mut damaged = bytes.clone();
            damaged[at..at + 8].copy_from_slice(&word.to_le_bytes());
            let _ = Executable::read(&damaged).map(|found| found.parts());
        }
    }
    assert_eq!(package(b"a\x1b[2J.F"), "");
    assert_eq!(package(b"ex\x1b/a\x07b%1bc%0a.F"), "ex?/a?b%1bc%0a", "nothing that a terminal obeys");
    for other in ["", "#!/bin/sh\n", "MZ", "\x7fELF"] {
        assert_eq!(Executable::read(other.as_bytes()), None);
    }
    assert_eq!(Executable::read(&elf_of(&[(".text", vec![0; 64])])), None, "no Go in it");
}
