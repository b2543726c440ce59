//! Findings as SARIF 2.1.0 (OASIS, sarif-v2.1.0-errata01), the same bytes for the same findings. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::findings::{Finding, Judgement, Kind, Standing, word};
use crate::config::Severity;
use crate::oci::types::Digest;
use crate::platform::Platform;

/// The SARIF log of one platform's scan.
pub fn document(
    service: &str,
    platform: &Platform,
    digest: &Digest,
    scanner: &str,
    judgement: &Judgement,
) -> Value {
    let mut rules: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in &judgement.findings {
        rules.entry(&finding.id).or_insert(finding);
    }
    let order: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(index, id)| (*id, index)).collect();
    let results: Vec<Value> =
        judgement.findings.iter().map(|finding| result(service, platform, finding, &order)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Trivy",
                "version": scanner,
                "informationUri": "https://trivy.dev",
                "rules": rules.values().map(|finding| rule(finding)).collect::<Vec<_>>(),
            }},
            "automationDetails": { "id": format!("longshore/{service}/{platform}/") },
            "columnKind": "utf16CodeUnits",
            "properties": { "service": service, "platform": platform, "digest": digest },
            "results": results,
        }],
    })
}

fn rule(finding: &Finding) -> Value {
    let title = if finding.title.is_empty() { &finding.id } else { &finding.title };
    let mut rule = json!({
        "id": finding.id,
        "shortDescription": { "text": title },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": {
            "tags": [kind(finding.kind), "security", word(finding.severity)],
            "security-severity": score(finding.severity),
        },
    });
    if !finding.url.is_empty() {
        rule["helpUri"] = json!(finding.url);
    }
    rule
}

fn result(service: &str, platform: &Platform, finding: &Finding, order: &BTreeMap<&str, usize>) -> Value {
    let target = finding.path.first().map(String::as_str).unwrap_or_default();
    let file = match finding.kind {
        // The place is `FILE:LINE`.
        Kind::Secret => target.rsplit_once(':').map_or(target, |(file, _)| file),
        Kind::Vulnerability => target,
        Kind::Misconfiguration => "config.json",
    };
    let mut message = format!("{}: {}", finding.id, finding.path.join(" > "));
    if !finding.title.is_empty() {
        message.push_str(&format!(": {}", finding.title));
    }
    if finding.kind == Kind::Vulnerability && !finding.fixed.is_empty() {
        message.push_str(&format!(" (fixed in {})", finding.fixed));
    }
    let uri = format!("{service}/{}/{}", platform.slug(), encoded(file));
    let mut result = json!({
        "ruleId": finding.id,
        "ruleIndex": order.get(finding.id.as_str()),
        "level": level(finding.severity),
        "message": { "text": message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri },
            "region": { "startLine": finding.line.unwrap_or(1).max(1) },
        }}],
        "partialFingerprints": {
            "finding/v1": Digest::of(format!("{service}\n{platform}\n{message}").as_bytes()).hex(),
        },
    });
    let why = match &finding.standing {
        Standing::Fails => None,
        Standing::Ignored { reason } => Some(reason.as_str()),
        Standing::Below => Some("below the gate's severity"),
        Standing::Unfixed => Some("no fixed version exists"),
    };
    if let Some(why) = why {
        result["suppressions"] = json!([{ "kind": "external", "justification": why }]);
    }
    result
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Vulnerability => "vulnerability",
        Kind::Secret => "secret",
        Kind::Misconfiguration => "misconfiguration",
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Unknown => "note",
    }
}

/// The middle of CVSS' range for the severity, as text: what code hosts sort by.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
        Severity::Unknown => "0.0",
    }
}

/// A path as part of a URI reference (RFC 3986): everything but unreserved characters and `/` escaped.
fn encoded(path: &str) -> String {
    let mut text = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::scan::findings::{judge, tests::report};
    use crate::stage::scan::{Ignore, Options};

    #[test]
    fn the_log_has_the_shape_that_readers_ask_for() {
        let ignore = vec![Ignore { id: "CVE-1".into(), reason: "unused".into(), until: None }];
        let options = Options { ignore, ..Options::default() };
        let judgement = judge(&report(), &options, "2026-11-21").unwrap();
        let platform = "linux/amd64".parse().unwrap();
        let make = || document("orders", &platform, &Digest::of(b"m"), "0.69.3", &judgement);
        let log = make();
        assert_eq!(log, make());
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!((rules.len(), results.len()), (5, 5));
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let place = &result["locations"][0]["physicalLocation"];
            assert!(place["artifactLocation"]["uri"].as_str().unwrap().starts_with("orders/linux_amd64/"));
            assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        }
        let suppressed = results.iter().filter(|result| result.get("suppressions").is_some());
        let ids: Vec<_> = suppressed.map(|result| result["ruleId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["CVE-1", "CVE-3"]);
        assert_eq!(
            results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "orders/linux_amd64/etc/key"
        );
    }

    #[test]
    fn odd_file_names_stay_references() {
        assert_eq!(encoded("/a b/ü:1"), "a%20b/%C3%BC%3A1");
    }
}
