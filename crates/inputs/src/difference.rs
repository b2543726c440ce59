//! What changed between two runs over named inputs. Pure.

use serde::Serialize;

use super::Preimage;

/// One input that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputChange {
    /// Its name, as a person would say it: a file from the root, `GOROOT`, `flags`.
    pub input: String,
    /// Absent: it is new.
    pub from: Option<String>,
    /// Absent: it is gone.
    pub to: Option<String>,
}

impl Preimage {
    /// Each input that differs from `before`, files first.
    pub fn changes(&self, before: &Self) -> Vec<InputChange> {
        // A file that is looked for and not there says as little as none.
        let value = |of: &Self, name: &str| {
            let value = of.0.get(name).filter(|value| &***value != "absent");
            value.map(|value| value.to_string())
        };
        let names: std::collections::BTreeSet<&str> =
            self.0.keys().chain(before.0.keys()).map(|name| &**name).collect();
        let mut changes: Vec<InputChange> = names
            .into_iter()
            .map(|name| InputChange {
                input: name.to_owned(),
                from: value(before, name),
                to: value(self, name),
            })
            .filter(|change| change.from != change.to)
            .collect();
        changes.sort_by_key(|change| !change.names_file());
        changes
    }
}

impl InputChange {
    fn names_file(&self) -> bool {
        let value = self.to.as_ref().or(self.from.as_ref());
        !self.input.starts_with("GOROOT") && value.is_some_and(|value| value.starts_with("sha256:"))
    }

    /// In one line: `pkg/a.go changed: 0123456789ab → ba9876543210`, `flags set: …`.
    pub fn line(&self) -> String {
        let name = &self.input;
        match (&self.from, &self.to) {
            (None, Some(to)) => format!("{name} added: {}", shown(to)),
            (Some(from), None) => format!("{name} removed: {}", shown(from)),
            (from, to) => {
                let shown = |value: &Option<String>| value.as_deref().map_or_else(String::new, shown);
                format!("{name} changed: {} → {}", shown(from), shown(to))
            }
        }
    }
}

/// A digest short, a text in quotes where its ends can't be seen.
fn shown(value: &str) -> String {
    if let Some(hex) = value.strip_prefix("sha256:").filter(|hex| hex.len() == 64) {
        return hex[..12].to_owned();
    }
    if value.is_empty() || value.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return serde_json::Value::from(value).to_string();
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_a_line_files_first() {
        let of = |inputs: &[(&str, &str)]| {
            let mut preimage = Preimage::default();
            for (name, value) in inputs {
                preimage.add(*name, *value);
            }
            preimage
        };
        let digest = |digit: char| format!("sha256:{}", std::iter::repeat_n(digit, 64).collect::<String>());
        let before = of(&[
            ("Go", "go1.26.0"),
            ("a.go", &digest('a')),
            ("b.go", &digest('b')),
            ("flags", ""),
            ("go.sum", "absent"),
            ("same", "1"),
        ]);
        let now = of(&[
            ("Go", "go1.26.1"),
            ("a.go", &digest('c')),
            ("flags", "-pgo=off -v"),
            ("n.go", &digest('d')),
            ("same", "1"),
        ]);
        let lines: Vec<String> = now.changes(&before).iter().map(InputChange::line).collect();
        assert_eq!(
            lines,
            [
                "a.go changed: aaaaaaaaaaaa → cccccccccccc",
                "b.go removed: bbbbbbbbbbbb",
                "n.go added: dddddddddddd",
                "Go changed: go1.26.0 → go1.26.1",
                "flags changed: \"\" → \"-pgo=off -v\"",
            ]
        );
        assert!(now.changes(&now).is_empty());
    }
}
