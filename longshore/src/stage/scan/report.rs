//! Trivy's JSON report, as far as a verdict needs it (schema version 2). Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::buildinfo::Modules;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    pub schema_version: u32,
    #[serde(default)]
    pub trivy: Scanner,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    results: Option<Vec<Outcome>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Scanner {
    #[serde(default)]
    pub version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    #[serde(rename = "ImageID")]
    pub image_id: Option<String>,
    #[serde(rename = "OS")]
    pub os: Option<Os>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Os {
    #[serde(rename = "Family", default)]
    pub family: String,
    #[serde(rename = "Name", default)]
    pub name: String,
    /// At the end of its service life: nobody writes advisories for it any more.
    #[serde(rename = "EOSL", default)]
    pub ended: bool,
}

/// What one file, one package manager or the image's config was found to hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Outcome {
    pub target: String,
    pub class: String,
    pub r#type: String,
    pub packages: Vec<Package>,
    pub vulnerabilities: Vec<Vulnerability>,
    pub misconfigurations: Vec<Misconfiguration>,
    pub secrets: Vec<Secret>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Package {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Name")]
    pub name: String,
    #[serde(rename = "Version")]
    pub version: String,
    #[serde(rename = "Relationship")]
    pub relationship: String,
    #[serde(rename = "DependsOn")]
    pub depends_on: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    pub id: String,
    #[serde(rename = "VendorIDs", default)]
    pub vendor_ids: Vec<String>,
    #[serde(rename = "PkgID", default)]
    pub package_id: String,
    #[serde(rename = "PkgName")]
    pub package: String,
    #[serde(rename = "InstalledVersion", default)]
    pub installed: String,
    #[serde(rename = "FixedVersion", default)]
    pub fixed: String,
    #[serde(rename = "Title", default)]
    pub title: String,
    #[serde(rename = "Severity")]
    pub severity: String,
    #[serde(rename = "PrimaryURL", default)]
    pub url: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Misconfiguration {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "AVDID", default)]
    pub other_id: String,
    #[serde(rename = "Title", default)]
    pub title: String,
    #[serde(rename = "Severity")]
    pub severity: String,
    #[serde(rename = "Resolution", default)]
    pub resolution: String,
    #[serde(rename = "PrimaryURL", default)]
    pub url: String,
    /// `FAIL`, `PASS` or `EXCEPTION`.
    #[serde(rename = "Status", default)]
    pub status: String,
}

/// The secret's text is never read: the scanner masks it, and a report needs only the place.
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    #[serde(rename = "RuleID")]
    pub id: String,
    #[serde(rename = "Title", default)]
    pub title: String,
    #[serde(rename = "Severity")]
    pub severity: String,
    #[serde(rename = "StartLine", default)]
    pub line: u32,
}

impl Report {
    pub fn results(&self) -> &[Outcome] {
        self.results.as_deref().unwrap_or_default()
    }

    /// The Go binaries that the scanner recognised.
    pub fn binaries(&self) -> impl Iterator<Item = &Outcome> {
        self.results().iter().filter(|outcome| outcome.r#type == "gobinary" && !outcome.packages.is_empty())
    }
}

/// Reads a report.
///
/// # Errors
/// Nothing at all, no JSON, another schema.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Report> {
    if bytes.trim_ascii().is_empty() {
        anyhow::bail!("the scanner printed no report");
    }
    let report: Report = serde_json::from_slice(bytes)
        .map_err(|error| anyhow::anyhow!("the scanner's report can't be read: {error}"))?;
    if report.schema_version != 2 {
        anyhow::bail!("the report has schema version {}, 2 is needed", report.schema_version);
    }
    Ok(report)
}

/// Modules of the binary that no Go binary of the report holds.
pub fn missing(report: &Report, modules: &Modules) -> Vec<String> {
    let known: BTreeSet<&str> = report
        .binaries()
        .filter(|outcome| last(&outcome.target) == last(&modules.executable))
        .flat_map(|outcome| &outcome.packages)
        .map(|package| package.name.as_str())
        .collect();
    modules
        .names
        .iter()
        .filter(|names| !names.iter().any(|name| known.contains(name.as_str())))
        .filter_map(|names| names.first().cloned())
        .collect()
}

/// A path's last part, whichever way its slashes lean.
fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_noise_and_other_schemas_are_faults() {
        for (text, part) in [
            ("", "printed no report"),
            (" \n", "printed no report"),
            ("{", "can't be read"),
            ("fatal", "can't be read"),
            ("{}", "can't be read"),
            (r#"{"SchemaVersion":3}"#, "schema version 3"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_modules_must_be_those_of_the_binary_itself() {
        let text = r#"{"SchemaVersion":2,"Results":[
            {"Target":"Files/app.exe","Type":"gobinary","Packages":[{"Name":"stdlib"},{"Name":"example.com/b"}]},
            {"Target":"helper","Type":"gobinary","Packages":[{"Name":"example.com/c"}]}]}"#;
        let report = parse(text.as_bytes()).unwrap();
        let modules = |names: &[&[&str]]| Modules {
            executable: "C:\\app.exe".to_owned(),
            names: names.iter().map(|n| n.iter().map(|s| (*s).to_owned()).collect()).collect(),
        };
        assert!(missing(&report, &modules(&[&["stdlib"], &["example.com/a", "example.com/b"]])).is_empty());
        assert_eq!(missing(&report, &modules(&[&["example.com/c"]])), ["example.com/c"]);
    }

    #[test]
    fn null_results_are_no_results() {
        assert!(parse(br#"{"SchemaVersion":2,"Results":null}"#).unwrap().results().is_empty());
    }
}
