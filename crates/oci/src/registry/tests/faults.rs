use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::faulty::{Fault, Server};
use super::*;
use crate::fault::exit_of;
use crate::types::media_type;

fn ignore(_: u64) {}

fn quiet(status: u16) -> Fault {
    Fault::Reply(status, Vec::new(), String::new())
}

#[test]
fn server_errors_pass_or_end_as_outside() {
    for (failures, good) in [(3, true), (4, false)] {
        let mut left = failures;
        let server = Server::start(move |_, _| {
            left -= 1;
            if left >= 0 { quiet([500, 502, 503, 429][left as usize % 4]) } else { Fault::None }
        });
        let result = remote(&server.host, options()).has_blob(&Digest::of(b""), 0);
        match result {
            Ok(there) => assert!(good && !there),
            Err(error) => {
                assert!(!good, "{error:#}");
                assert_eq!(exit_of(&error), Exit::Outside);
                let fault = error.downcast_ref::<crate::fault::Fault>().unwrap();
                assert!(fault.hint.as_deref().unwrap().contains("safe to run it again"));
            }
        }
        assert_eq!(server.count("HEAD", "/blobs/"), 4);
    }
}

#[test]
fn odd_waits_are_honoured_and_clamped() {
    for asked in ["35.852µs", "86400", "Fri, 31 Dec 9999 23:59:59 GMT", "nonsense"] {
        let mut first = true;
        let server = Server::start(move |_, _| {
            let once = std::mem::replace(&mut first, false);
            if once {
                Fault::Reply(429, vec![("retry-after", asked.to_owned())], String::new())
            } else {
                Fault::None
            }
        });
        let start = Instant::now();
        remote(&server.host, options()).ping().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{asked}");
        assert_eq!(server.count("GET", "/v2/"), 2, "{asked}");
    }
}

/// Cuts the first upload body after `cut` bytes and returns what the server saw.
fn cut_upload(cut: usize, size: usize, chunk: Option<u64>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let (file, digest, length) = blob(folder.path(), size);
    let mut first = true;
    let server = Server::start(move |head, _| {
        let sends = head.is("PUT", "/uploads/") || head.is("PATCH", "/uploads/");
        let body = head.headers.get("content-length").is_some_and(|length| length != "0");
        if sends && body && std::mem::replace(&mut first, false) { Fault::CutAfter(cut) } else { Fault::None }
    });
    let remote = remote(&server.host, Options { chunk, ..options() });
    let sent = Blob { file: &file, digest: &digest, size: length };
    assert_eq!(remote.put_blob(sent, &[], &ignore).unwrap(), Uploaded::Sent);
    assert!(remote.has_blob(&digest, length).unwrap());
    server
}

#[test]
fn an_upload_that_is_cut_goes_on_where_the_server_stands() {
    let size = 3_000_000;
    for cut in [0, 1, 2, 65_536, 1_500_000, size - 1, size] {
        let server = cut_upload(cut, size, None);
        let received = server.state.lock().unwrap().received;
        assert!(received <= size + 1, "{cut}: {received}");
        if cut > 1 && cut < size {
            let log = &server.state.lock().unwrap().log;
            let resumed = log.iter().find(|head| head.is("PATCH", "/uploads/")).unwrap();
            assert_eq!(resumed.headers["content-range"], format!("{cut}-{}", size - 1));
        }
    }
}

#[test]
fn chunks_are_of_the_size_asked_for_and_go_on_after_a_cut() {
    let server = cut_upload(500, 100_000, Some(30_000));
    assert_eq!(server.state.lock().unwrap().received, 100_000);
    let log = &server.state.lock().unwrap().log;
    let ranges: Vec<&str> =
        log.iter().filter_map(|head| head.headers.get("content-range").map(String::as_str)).collect();
    assert_eq!(ranges, ["0-29999", "500-30499", "30500-60499", "60500-90499", "90500-99999"]);
}

#[test]
fn a_lost_session_is_begun_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let (file, digest, size) = blob(folder.path(), 100_000);
    let mut cuts = 1;
    let server = Server::start(move |head, _| {
        if head.is("PUT", "/uploads/") && cuts > 0 {
            cuts -= 1;
            return Fault::CutAfter(50_000);
        }
        if head.is("GET", "/uploads/") { quiet(404) } else { Fault::None }
    });
    let remote = remote(&server.host, options());
    remote.put_blob(Blob { file: &file, digest: &digest, size }, &[], &ignore).unwrap();
    assert_eq!(server.count("POST", "/uploads/"), 2);
}

#[test]
fn a_mount_that_is_answered_with_a_session_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, digest, size) = blob(folder.path(), 1000);
    let server = Server::start(|_, _| Fault::None);
    let remote = remote(&server.host, options());
    let sent = Blob { file: &file, digest: &digest, size };
    assert_eq!(remote.put_blob(sent, &["shop/orders"], &ignore).unwrap(), Uploaded::Sent);
    assert_eq!(remote.put_blob(sent, &["shop/orders"], &ignore).unwrap(), Uploaded::Existed);
    assert_eq!(server.count("POST", "from=shop/orders"), 1);
    assert_eq!(server.count("POST", "/uploads/"), 1);
}

#[test]
fn a_refused_digest_is_tried_once_more_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (file, digest, size) = blob(folder.path(), 1000);
    let server = Server::start(|head, _| {
        let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
        if head.is("PUT", "/uploads/") { Fault::Reply(400, Vec::new(), body.to_owned()) } else { Fault::None }
    });
    let remote = remote(&server.host, options());
    let sent = Blob { file: &file, digest: &digest, size };
    let error = remote.put_blob(sent, &[], &ignore).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Outside, "{error:#}");
    let hint = error.downcast_ref::<crate::fault::Fault>().unwrap().hint.clone().unwrap();
    assert!(hint.contains("disk is full"), "{hint}");
    assert_eq!(server.count("POST", "/uploads/"), 2);
    // A file that is another by now is the machine's fault, not the registry's.
    std::fs::write(&file, vec![0; 1000]).unwrap();
    let error = remote.put_blob(sent, &[], &ignore).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
}

#[test]
fn hanging_and_cut_answers_end_as_outside() {
    for cut in [true, false] {
        let server = Server::start(move |_, _| if cut { Fault::Cut } else { Fault::Hang });
        let limits = Limits { idle: Duration::from_millis(50), ..options().limits };
        let error = remote(&server.host, Options { limits, ..options() }).ping().unwrap_err();
        assert_eq!(exit_of(&error), Exit::Outside, "{error:#}");
        assert!(format!("{error:#}").contains(&server.host));
        assert!(server.count("GET", "/v2/") >= 4);
    }
    let error = remote("127.0.0.1:1", options()).ping().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Outside, "{error:#}");
}

#[test]
fn a_truncated_blob_goes_on_and_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, digest, size) = blob(folder.path(), 500_000);
    let bytes = std::fs::read(folder.path().join("blob")).unwrap();
    let descriptor = Descriptor::new(media_type::LAYER, digest.clone(), size);
    let layout = Layout::create(&folder.path().join("layout")).unwrap();
    for (damages, good) in [(0, true), (1, true), (9, false)] {
        let mut gets = 0;
        let server = Server::start(move |head, _| {
            gets += i32::from(head.is("GET", "/blobs/"));
            match (head.method.as_str(), gets) {
                ("GET", 1) if damages == 0 => Fault::Truncate(200_000),
                ("GET", gets) if gets <= damages => Fault::Damage,
                _ => Fault::None,
            }
        });
        server.state.lock().unwrap().blobs.insert(digest.to_string(), bytes.clone());
        let fetched = remote(&server.host, options()).fetch_blob(&descriptor, &layout, &ignore);
        let path = layout.blob_path(&digest);
        if good {
            fetched.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            std::fs::remove_file(&path).unwrap();
        } else {
            assert_eq!(exit_of(&fetched.unwrap_err()), Exit::Outside);
            assert!(!path.exists());
        }
        if damages == 0 {
            let log = &server.state.lock().unwrap().log;
            let resumed = log.iter().filter_map(|head| head.headers.get("range")).collect::<Vec<_>>();
            assert_eq!(resumed, ["bytes=200000-"]);
        }
        // Nothing is left of a draft.
        assert_eq!(std::fs::read_dir(layout.root().join("blobs/sha256")).unwrap().count(), 0);
    }
}

#[test]
fn a_manifest_is_what_its_digest_says() {
    let server =
        Server::start(|head, _| if head.is("GET", "/manifests/") { Fault::Damage } else { Fault::None });
    let document = crate::image::index(&[], &Default::default()).unwrap();
    let error = remote(&server.host, options()).put_manifest(&document).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Outside, "{error:#}");
    let other = Server::start(
        |head, _| if head.is("GET", "/manifests/") { Fault::Truncate(10) } else { Fault::None },
    );
    let error = remote(&other.host, options()).put_manifest(&document).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Outside, "{error:#}");
}

/// A hook that wants a token, which `/token` gives out; each lives for `uses` requests.
fn with_tokens(uses: usize) -> impl FnMut(&super::faulty::Head, &super::faulty::State) -> Fault {
    let (mut issued, mut used) = (0, 0);
    move |head, _| {
        if head.target.starts_with("/token") {
            (issued, used) = (issued + 1, 0);
            return Fault::Reply(200, Vec::new(), format!(r#"{{"token":"t{issued}","expires_in":300}}"#));
        }
        let good =
            head.headers.get("authorization").is_some_and(|value| *value == format!("Bearer t{issued}"));
        used += 1;
        if good && used <= uses {
            return Fault::None;
        }
        let host = &head.headers["host"];
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="tests""#);
        Fault::Reply(401, vec![("www-authenticate", challenge)], String::new())
    }
}

#[test]
fn a_token_is_kept_and_renewed_when_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let (file, digest, size) = blob(folder.path(), 100_000);
    // Tokens that last, and ones that expire between an upload's requests.
    for (uses, tokens) in [(100, 2), (2, 5)] {
        let server = Server::start(with_tokens(uses));
        let remote = remote(&server.host, Options { chunk: Some(40_000), ..options() });
        remote.put_blob(Blob { file: &file, digest: &digest, size }, &["shop/orders"], &ignore).unwrap();
        assert_eq!(server.count("GET", "/token"), tokens, "{uses}");
        let scope = "scope=repository:shop/gateway:pull,push&scope=repository:shop/orders:pull";
        assert!(server.count("GET", scope) > 0);
    }
}

#[test]
fn a_token_that_is_never_good_is_a_missing_permission() {
    let server = Server::start(with_tokens(0));
    let error = remote(&server.host, options()).ping().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
    let hint = error.downcast_ref::<crate::fault::Fault>().unwrap().hint.clone().unwrap();
    assert!(hint.contains("/nonexistent/.docker/config.json"), "{hint}");
    assert_eq!(server.count("GET", "/token"), 1);
}

#[test]
fn an_authorization_stays_with_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(r#"{{"auths":{{"HOST":{{"auth":"{}"}}}}}}"#, "dXNlcjpzZWNyZXQ=");
    let storage = Server::start(|_, _| Fault::None);
    let elsewhere = format!("http://{}", storage.host);
    let server = Server::start(move |head, _| {
        if !head.headers.contains_key("authorization") {
            return Fault::Reply(401, vec![("www-authenticate", "Basic realm=x".to_owned())], String::new());
        }
        if head.is("GET", "/blobs/") {
            return Fault::Reply(
                307,
                vec![("location", format!("{elsewhere}{}", head.target))],
                String::new(),
            );
        }
        Fault::None
    });
    std::fs::write(folder.path().join("config.json"), config.replace("HOST", &server.host)).unwrap();
    storage.state.lock().unwrap().blobs.insert(Digest::of(b"x").to_string(), b"x".to_vec());
    let environment = environment(&[("DOCKER_CONFIG", folder.path().to_str().unwrap())]);
    let client = Client::new(&environment, options(), &Cancel::default());
    let remote = client.repository(Repository::new(&server.host, "a").unwrap());
    let layout = Layout::create(&folder.path().join("layout")).unwrap();
    remote.fetch_blob(&Descriptor::of(media_type::LAYER, b"x"), &layout, &ignore).unwrap();
    let seen = &server.state.lock().unwrap().log;
    assert_eq!(seen.last().unwrap().headers["authorization"], "Basic dXNlcjpzZWNyZXQ=");
    let seen = &storage.state.lock().unwrap().log;
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].headers.contains_key("authorization"));
    assert!(!format!("{remote:?}").contains("dXNlcjpzZWNyZXQ="));
}

#[test]
fn a_redirect_to_plain_http_elsewhere_is_refused() {
    let server = Server::start(|_, _| {
        Fault::Reply(307, vec![("location", "http://registry.invalid/x".to_owned())], String::new())
    });
    let error = remote(&server.host, options()).ping().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
    assert_eq!(server.count("GET", ""), 1);
}

#[test]
fn an_interruption_ends_a_push_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("from"));
    let cancel = Cancel::default();
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let (asked, stop) = (seen.clone(), cancel.clone());
    let server = Server::start(move |head, _| {
        if head.is("PUT", "/uploads/") && asked.fetch_add(1, Ordering::SeqCst) == 0 {
            stop.set(2);
        }
        if head.is("PUT", "/uploads/") { Fault::Hang } else { Fault::None }
    });
    let limits = Limits { idle: Duration::from_secs(600), ..options().limits };
    let client = Client::new(&environment(&[]), Options { limits, ..options() }, &cancel);
    let to = Destination::Registry(client.repository(Repository::new(&server.host, "a").unwrap()));
    let error = to.copy_image(&layout, &index, copying(&cancel)).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Interrupted, "{error:#}");
    assert_eq!(server.count("PUT", "/manifests/"), 0);
}

#[test]
fn an_image_arrives_whole_through_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("from"));
    let mut state = 88_172_645_463_325_252_u64;
    let server = Server::start(move |head, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 10 {
            0 => quiet(503),
            1 | 2 if head.is("PUT", "/uploads/") => Fault::CutAfter(100),
            3 => Fault::Cut,
            _ => Fault::None,
        }
    });
    let policy = Policy { retries: 50, ..options().policy };
    let client = Client::new(&environment(&[]), Options { policy, ..options() }, &Cancel::default());
    let to = Destination::Registry(client.repository(Repository::new(&server.host, "a").unwrap()));
    let cancel = Cancel::default();
    to.copy_image(&layout, &index, copying(&cancel)).unwrap();
    to.set_tag_once(&"1.0.0".parse().unwrap(), &index.digest).unwrap();
    let state = server.state.lock().unwrap();
    assert_eq!(Digest::of(&state.manifests["1.0.0"].1), index.digest);
    assert_eq!(state.blobs.len(), 4);
}
