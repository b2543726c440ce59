//! What refers to an image (signatures, SBOMs, attestations) goes along when it is promoted, whatever the
//! registries know of referrers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::promote::Shop;
use crate::registry::{Registry, sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One repository of a registry, spoken to by hand.
struct Remote<'a>(&'a Registry, &'a str);

impl Remote<'_> {
    /// The answer's head and body.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.0.host()).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAccept: {MANIFEST}, {INDEX}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.0.host(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn get(&self, rest: &str) -> Option<Value> {
        let (head, body) = self.send("GET", &format!("/v2/{}/{rest}", self.1), "", &[]);
        head.lines().next().unwrap().contains(" 200").then(|| serde_json::from_slice(&body).unwrap())
    }

    #[track_caller]
    fn put(&self, path: &str, kind: &str, body: &[u8]) {
        let (head, _) = self.send("PUT", path, kind, body);
        assert!(head.lines().next().unwrap().contains(" 201"), "{path}: {head}");
    }

    fn blob(&self, bytes: &[u8]) -> Value {
        let (head, _) = self.send("POST", &format!("/v2/{}/blobs/uploads/", self.1), "", &[]);
        let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let path = &location[location.find("/v2/").unwrap()..];
        let digest = sha256(bytes);
        let mark = if path.contains('?') { '&' } else { '?' };
        self.put(&format!("{path}{mark}digest={digest}"), "application/octet-stream", bytes);
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": bytes.len() })
    }

    fn manifest(&self, reference: &str, kind: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = sha256(&bytes);
        let name = if reference.is_empty() { &digest } else { reference };
        self.put(&format!("/v2/{}/manifests/{name}", self.1), kind, &bytes);
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// An artifact of a type; gives its descriptor.
    fn artifact(&self, kind: &str, subject: Option<&str>, reference: &str) -> Value {
        let layer = self.blob(format!("{kind} of {subject:?}").as_bytes());
        let mut config = self.blob(b"{}");
        config["mediaType"] = "application/vnd.oci.empty.v1+json".into();
        let mut document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config, "layers": [layer],
            "annotations": { "made-by": "tests" },
        });
        if let Some(subject) = subject {
            document["subject"] = json!({ "mediaType": INDEX, "digest": subject, "size": 1 });
        }
        self.manifest(reference, MANIFEST, &document)
    }

    /// The index that stands for a list of referrers.
    fn list(&self, subject: &str, referrers: &[&Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": referrers });
        self.manifest(&tag(subject, ""), INDEX, &index);
    }

    /// What refers to a digest, by this path, as `TYPE DIGEST`; each must be there with its layer.
    #[track_caller]
    fn listed(&self, path: &str) -> Vec<String> {
        let Some(index) = self.get(path) else { return Vec::new() };
        let mut listed = Vec::new();
        for found in index["manifests"].as_array().unwrap() {
            let digest = found["digest"].as_str().unwrap();
            let manifest = self.get(&format!("manifests/{digest}")).unwrap();
            let layer = manifest["layers"][0]["digest"].as_str().unwrap();
            let (head, _) = self.send("GET", &format!("/v2/{}/blobs/{layer}", self.1), "", &[]);
            assert!(head.contains(" 200"), "{head}");
            assert_eq!(found["annotations"]["made-by"], "tests", "{found}");
            listed.push(format!("{} {digest}", found["artifactType"].as_str().unwrap()));
        }
        listed.sort();
        listed
    }
}

/// `sha256-HEX`
fn tag(digest: &str, suffix: &str) -> String {
    format!("{}{suffix}", digest.replace(':', "-"))
}

fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap()
}

/// Released and verified in `dev`, agreed to for `prod`; the digests of its index and of its platform.
fn ready(shop: &Shop) -> (String, String) {
    shop.run(&["release", "--env", "dev", "api"]).code(0);
    shop.run(&["deploy", "--env", "dev", "api"]).code(0);
    shop.promote(&["--approve"]).code(0);
    let index = shop.runs("dev")["neutral"].as_str().unwrap().to_owned();
    let document = Remote(&shop.dev, "team/api").get(&format!("manifests/{index}")).unwrap();
    (index, digest(&document["manifests"][0]).to_owned())
}

#[test]
fn referrers_that_a_registry_lists_are_tags_where_it_does_not() {
    let Some(prod) = Registry::start() else { return };
    let Some(shop) = Shop::of(Registry::with_referrers(), prod) else { return };
    let (index, platform) = ready(&shop);
    let (dev, prod) = (Remote(&shop.dev, "team/api"), Remote(&shop.prod, "live/api"));
    let signature = dev.artifact("application/signature", Some(&index), "");
    let sbom = dev.artifact("application/sbom", Some(&platform), "");
    let signed = dev.artifact("application/signature", Some(digest(&sbom)), "");
    let cosign = dev.artifact("application/cosign", None, &tag(&platform, ".sig"));
    // The target has one of its own already, and a list that names it.
    let own = prod.artifact("application/own", Some(&index), "");
    let mut named = own.clone();
    named["artifactType"] = "application/own".into();
    named["annotations"] = json!({ "made-by": "tests" });
    prod.list(&index, &[&named]);
    shop.promote(&[]).code(0).stderr_lacks("warning");
    assert_eq!(
        prod.listed(&format!("manifests/{}", tag(&index, ""))),
        [
            format!("application/own {}", digest(&own)),
            format!("application/signature {}", digest(&signature))
        ]
    );
    for (subject, kind, expected) in
        [(platform.as_str(), "sbom", &sbom), (digest(&sbom), "signature", &signed)]
    {
        let listed = prod.listed(&format!("manifests/{}", tag(subject, "")));
        assert_eq!(listed, [format!("application/{kind} {}", digest(expected))]);
    }
    let found = prod.get(&format!("manifests/{}", tag(&platform, ".sig"))).unwrap();
    assert_eq!(found["artifactType"], "application/cosign", "{} {found}", digest(&cosign));
}

#[test]
fn referrers_that_are_tags_are_listed_where_the_registry_does_it() {
    let Some(dev) = Registry::start() else { return };
    let Some(shop) = Shop::of(dev, Registry::with_referrers()) else { return };
    let (index, platform) = ready(&shop);
    let (dev, prod) = (Remote(&shop.dev, "team/api"), Remote(&shop.prod, "live/api"));
    let signature = dev.artifact("application/signature", Some(&index), "");
    let gone = dev.artifact("application/gone", Some(&index), "");
    dev.list(&index, &[&signature, &gone]);
    let (head, _) = dev.send("DELETE", &format!("/v2/team/api/manifests/{}", digest(&gone)), "", &[]);
    assert!(head.contains(" 202"), "{head}");
    dev.artifact("application/att", None, &tag(&index, ".att"));
    let own = prod.artifact("application/own", None, &tag(&index, ".att"));
    shop.promote(&[])
        .code(0)
        .stderr_has(&format!("{}` is not there, and was not copied", digest(&gone)))
        .stderr_has(".att` is another one than in");
    let listed = prod.get(&format!("referrers/{index}")).unwrap();
    let listed = listed["manifests"].as_array().unwrap();
    assert_eq!(listed.iter().map(digest).collect::<Vec<_>>(), [digest(&signature)]);
    assert!(prod.get(&format!("manifests/{}", tag(&index, ""))).is_none(), "no tag is needed");
    assert!(prod.get(&format!("referrers/{platform}")).unwrap()["manifests"].as_array().unwrap().is_empty());
    let kept = prod.get(&format!("manifests/{}", tag(&index, ".att"))).unwrap();
    assert_eq!(kept["artifactType"], "application/own", "{own}");
}
