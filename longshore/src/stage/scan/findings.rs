//! What a report means for the gate. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::report::{Misconfiguration, Outcome, Package, Report, Secret, Vulnerability};
use super::{Ignore, Options};
use crate::config::Severity;

/// A report, weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// All of them, the gravest first.
    pub findings: Vec<Finding>,
    /// Ignores that have expired or match nothing, a base that nobody maintains.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// The CVE, the rule, the check.
    pub id: String,
    pub severity: Severity,
    pub title: String,
    /// Where it is and what brings it in: the file, the main module, …, the package with its version.
    pub path: Vec<String>,
    /// Empty where there is none.
    pub fixed: String,
    pub url: String,
    pub line: Option<u32>,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Secret,
    Vulnerability,
    Misconfiguration,
}

/// Whether a finding fails the gate, and if not, why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Fails,
    /// Its severity is not one that fails the gate.
    Below,
    /// It has no fixed version, and `ignore-unfixed` holds.
    Unfixed,
    Ignored {
        reason: String,
    },
}

impl Judgement {
    /// The findings that fail the gate.
    pub fn failures(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.standing == Standing::Fails).collect()
    }

    /// `CVE-2026-1 in MODULE VERSION`, of all of them.
    pub fn names(&self) -> BTreeSet<String> {
        let place = |finding: &Finding| finding.path.last().cloned().unwrap_or_default();
        self.findings.iter().map(|finding| format!("{} in {}", finding.id, place(finding))).collect()
    }

    /// "no findings", "2 findings, 1 ignored".
    pub fn note(&self) -> String {
        let count = self.findings.len();
        let mut note = match count {
            0 => return "no findings".to_owned(),
            1 => "1 finding".to_owned(),
            _ => format!("{count} findings"),
        };
        let of = |wanted: fn(&Standing) -> bool| self.findings.iter().filter(|f| wanted(&f.standing)).count();
        for (count, word) in [
            (of(|s| *s == Standing::Fails), "failing"),
            (of(|s| matches!(s, Standing::Ignored { .. })), "ignored"),
            (of(|s| *s == Standing::Unfixed), "unfixed"),
            (of(|s| *s == Standing::Below), "below the gate"),
        ] {
            if count > 0 {
                note.push_str(&format!(", {count} {word}"));
            }
        }
        note
    }
}

/// Whether an ignore still holds on `today` (`YYYY-MM-DD`, UTC).
pub fn holds(ignore: &Ignore, today: &str) -> bool {
    ignore.until.as_deref().is_none_or(|until| today <= until)
}

/// Weighs a report.
///
/// # Errors
/// A severity that is none: the report is of another form than this build knows.
pub fn judge(report: &Report, options: &Options, today: &str) -> anyhow::Result<Judgement> {
    let mut gate = Gate { options, today, matched: BTreeSet::new() };
    let mut findings = Vec::new();
    for outcome in report.results() {
        for secret in &outcome.secrets {
            findings.push(gate.secret(outcome, secret)?);
        }
        for vulnerability in &outcome.vulnerabilities {
            findings.push(gate.vulnerability(outcome, vulnerability)?);
        }
        for check in outcome.misconfigurations.iter().filter(|check| check.status == "FAIL") {
            findings.push(gate.misconfiguration(check)?);
        }
    }
    // Secrets first, then by severity: the order of the table and of the reports.
    findings.sort_by(|a, b| {
        (a.standing != Standing::Fails, a.kind, std::cmp::Reverse(a.severity), &a.id, &a.path).cmp(&(
            b.standing != Standing::Fails,
            b.kind,
            std::cmp::Reverse(b.severity),
            &b.id,
            &b.path,
        ))
    });
    let mut warnings = gate.warnings();
    if let Some(os) = report.metadata.os.as_ref().filter(|os| os.ended) {
        warnings.push(format!(
            "the base, {} {}, is at its end of life: nobody reports faults in it any more",
            os.family, os.name
        ));
    }
    Ok(Judgement { findings, warnings })
}

struct Gate<'a> {
    options: &'a Options,
    today: &'a str,
    /// Indices of ignores that matched something.
    matched: BTreeSet<usize>,
}

impl Gate<'_> {
    fn secret(&mut self, outcome: &Outcome, secret: &Secret) -> anyhow::Result<Finding> {
        // A secret in an image is out, whatever its severity.
        let standing = self.ignored(&[&secret.id]).unwrap_or(Standing::Fails);
        Ok(Finding {
            kind: Kind::Secret,
            id: secret.id.clone(),
            severity: severity(&secret.severity)?,
            title: secret.title.clone(),
            path: vec![format!("{}:{}", outcome.target, secret.line)],
            fixed: String::new(),
            url: String::new(),
            line: Some(secret.line),
            standing,
        })
    }

    fn vulnerability(&mut self, outcome: &Outcome, found: &Vulnerability) -> anyhow::Result<Finding> {
        let severity = severity(&found.severity)?;
        let mut ids = vec![found.id.as_str()];
        ids.extend(found.vendor_ids.iter().map(String::as_str));
        let standing = match self.ignored(&ids) {
            Some(ignored) => ignored,
            None if !self.options.severity.contains(&severity) => Standing::Below,
            None if self.options.ignore_unfixed && found.fixed.is_empty() => Standing::Unfixed,
            None => Standing::Fails,
        };
        Ok(Finding {
            kind: Kind::Vulnerability,
            id: found.id.clone(),
            severity,
            title: found.title.clone(),
            path: route(outcome, found),
            fixed: found.fixed.clone(),
            url: found.url.clone(),
            line: None,
            standing,
        })
    }

    fn misconfiguration(&mut self, check: &Misconfiguration) -> anyhow::Result<Finding> {
        let severity = severity(&check.severity)?;
        let standing = match self.ignored(&[&check.id, &check.other_id]) {
            Some(ignored) => ignored,
            None if !self.options.severity.contains(&severity) => Standing::Below,
            None => Standing::Fails,
        };
        Ok(Finding {
            kind: Kind::Misconfiguration,
            id: check.id.clone(),
            severity,
            title: check.title.clone(),
            path: vec!["the image's config".to_owned()],
            fixed: check.resolution.clone(),
            url: check.url.clone(),
            line: None,
            standing,
        })
    }

    fn ignored(&mut self, ids: &[&str]) -> Option<Standing> {
        let mut standing = None;
        for (index, ignore) in self.options.ignore.iter().enumerate() {
            if !ids.iter().any(|id| id.eq_ignore_ascii_case(&ignore.id)) {
                continue;
            }
            self.matched.insert(index);
            if holds(ignore, self.today) {
                standing = Some(Standing::Ignored { reason: ignore.reason.clone() });
            }
        }
        standing
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, ignore) in self.options.ignore.iter().enumerate() {
            let id = &ignore.id;
            if !holds(ignore, self.today) {
                let until = ignore.until.as_deref().unwrap_or_default();
                warnings.push(format!("the ignore of `{id}` expired on {until} and holds no more"));
            } else if !self.matched.contains(&index) {
                warnings.push(format!("the ignore of `{id}` matches nothing here: take it out"));
            }
        }
        warnings
    }
}

fn severity(text: &str) -> anyhow::Result<Severity> {
    Ok(match text {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "UNKNOWN" | "" => Severity::Unknown,
        other => anyhow::bail!("the report has a severity `{other}`, which this build does not know"),
    })
}

/// A severity as the scanner writes it.
pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRITICAL",
        Severity::High => "HIGH",
        Severity::Medium => "MEDIUM",
        Severity::Low => "LOW",
        Severity::Unknown => "UNKNOWN",
    }
}

/// The shortest way from the file over the main module to the package.
fn route(outcome: &Outcome, found: &Vulnerability) -> Vec<String> {
    let package = format!("{} {}", found.package, found.installed);
    let mut path = vec![outcome.target.clone()];
    let packages: BTreeMap<&str, &Package> =
        outcome.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut queue = VecDeque::new();
    for root in outcome.packages.iter().filter(|package| package.relationship == "root") {
        before.insert(&root.id, None);
        queue.push_back(root.id.as_str());
    }
    while let Some(id) = queue.pop_front() {
        for next in packages.get(id).map(|package| package.depends_on.as_slice()).unwrap_or_default() {
            if !before.contains_key(next.as_str()) {
                before.insert(next, Some(id));
                queue.push_back(next);
            }
        }
    }
    let mut way = Vec::new();
    let mut at = before.get(found.package_id.as_str()).copied().flatten();
    while let Some(id) = at {
        way.push(id.to_owned());
        at = before.get(id).copied().flatten();
    }
    path.extend(way.into_iter().rev());
    path.push(package);
    path
}

/// Findings as lines of aligned columns: severity, id, what brings it in, what mends it.
pub fn table(findings: &[&Finding]) -> Vec<String> {
    let rows: Vec<[String; 4]> = findings
        .iter()
        .map(|finding| {
            [word(finding.severity).to_owned(), finding.id.clone(), finding.path.join(" > "), remedy(finding)]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    rows.iter()
        .map(|[severity, id, path, remedy]| {
            let [a, b, c] = widths;
            format!("{severity:<a$}  {id:<b$}  {path:<c$}  {remedy}").trim_end().to_owned()
        })
        .collect()
}

fn remedy(finding: &Finding) -> String {
    let remedy = match finding.kind {
        Kind::Secret => "take it out of the image, and revoke it".to_owned(),
        Kind::Vulnerability if finding.fixed.is_empty() => "no fixed version".to_owned(),
        Kind::Vulnerability => format!("fixed in {}", finding.fixed),
        Kind::Misconfiguration => finding.fixed.clone(),
    };
    match &finding.standing {
        Standing::Ignored { reason } => format!("{remedy} (ignored: {reason})"),
        Standing::Unfixed => format!("{remedy} (unfixed ones pass)"),
        Standing::Below => format!("{remedy} (below the gate)"),
        Standing::Fails => remedy,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stage::scan::report;

    pub(in crate::stage::scan) fn report() -> Report {
        let text = r#"{"SchemaVersion":2,"Metadata":{"OS":{"Family":"debian","Name":"9","EOSL":true}},"Results":[
          {"Target":"app","Class":"lang-pkgs","Type":"gobinary","Packages":[
            {"ID":"ex/app","Name":"ex/app","Relationship":"root","DependsOn":["ex/mid@v1"]},
            {"ID":"ex/mid@v1","Name":"ex/mid","Version":"v1","DependsOn":["ex/jwt@v3"]},
            {"ID":"ex/jwt@v3","Name":"ex/jwt","Version":"v3"}],
           "Vulnerabilities":[
            {"VulnerabilityID":"CVE-1","VendorIDs":["GHSA-1"],"PkgID":"ex/jwt@v3","PkgName":"ex/jwt","InstalledVersion":"v3","Severity":"HIGH","Title":"bad"},
            {"VulnerabilityID":"CVE-2","PkgID":"ex/mid@v1","PkgName":"ex/mid","InstalledVersion":"v1","FixedVersion":"1.1","Severity":"CRITICAL","PrimaryURL":"https://example.com/CVE-2"},
            {"VulnerabilityID":"CVE-3","PkgID":"x","PkgName":"stdlib","InstalledVersion":"v1.25.3","FixedVersion":"1.25.5","Severity":"LOW"}]},
          {"Target":"image","Class":"config","Type":"dockerfile","Misconfigurations":[
            {"ID":"DS-0026","AVDID":"AVD-DS-0026","Severity":"HIGH","Status":"FAIL","Resolution":"add it"},
            {"ID":"DS-0001","Severity":"HIGH","Status":"PASS"}]},
          {"Target":"/etc/key","Class":"secret","Secrets":[{"RuleID":"private-key","Severity":"LOW","Title":"Key","StartLine":2}]}]}"#;
        report::parse(text.as_bytes()).unwrap()
    }

    fn ids(judgement: &Judgement) -> Vec<&str> {
        judgement.failures().iter().map(|finding| finding.id.as_str()).collect()
    }

    fn ignore(id: &str, until: Option<&str>) -> Ignore {
        Ignore { id: id.to_owned(), reason: "seen".to_owned(), until: until.map(str::to_owned) }
    }

    #[test]
    fn severity_and_kind_decide() {
        let judgement = judge(&report(), &Options::default(), "2026-11-21").unwrap();
        assert_eq!(ids(&judgement), ["private-key", "CVE-2", "CVE-1", "DS-0026"]);
        let critical = Options { severity: BTreeSet::from([Severity::Critical]), ..Options::default() };
        // A secret fails whatever its severity.
        assert_eq!(ids(&judge(&report(), &critical, "2026-11-21").unwrap()), ["private-key", "CVE-2"]);
        let unfixed = Options { ignore_unfixed: true, ..Options::default() };
        let judgement = judge(&report(), &unfixed, "2026-11-21").unwrap();
        assert_eq!(ids(&judgement), ["private-key", "CVE-2", "DS-0026"]);
        assert_eq!(judgement.note(), "5 findings, 3 failing, 1 unfixed, 1 below the gate");
        assert_eq!(judgement.warnings.len(), 1);
    }

    #[test]
    fn an_ignore_goes_by_any_name_until_its_last_day() {
        let options = Options {
            ignore: vec![
                ignore("ghsa-1", Some("2026-11-21")),
                ignore("CVE-2", Some("2026-11-20")),
                ignore("AVD-DS-0026", None),
                ignore("private-key", None),
                ignore("CVE-9", None),
            ],
            ..Options::default()
        };
        let judgement = judge(&report(), &options, "2026-11-21").unwrap();
        assert_eq!(ids(&judgement), ["CVE-2"]);
        assert_eq!(
            judgement.warnings[..2],
            [
                "the ignore of `CVE-2` expired on 2026-11-20 and holds no more",
                "the ignore of `CVE-9` matches nothing here: take it out",
            ]
        );
    }

    #[test]
    fn a_finding_names_what_brings_it_in() {
        let judgement = judge(&report(), &Options::default(), "2026-11-21").unwrap();
        let table = table(&judgement.failures());
        assert_eq!(table, [
            "LOW       private-key  /etc/key:2                       take it out of the image, and revoke it",
            "CRITICAL  CVE-2        app > ex/app > ex/mid v1              fixed in 1.1",
            "HIGH      CVE-1        app > ex/app > ex/mid@v1 > ex/jwt v3  no fixed version",
            "HIGH      DS-0026      the image's config                    add it",
        ].map(|line| if line.starts_with("LOW") { line.replacen("/etc/key:2       ", "/etc/key:2            ", 1) } else { line.to_owned() }));
    }

    #[test]
    fn an_unknown_severity_is_no_verdict() {
        let text = r#"{"SchemaVersion":2,"Results":[{"Secrets":[{"RuleID":"x","Severity":"BAD"}]}]}"#;
        assert!(judge(&report::parse(text.as_bytes()).unwrap(), &Options::default(), "").is_err());
    }
}
