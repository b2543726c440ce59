//! The end of a session's containers, network and images.

use std::path::Path;

use crate::cancel::Cancel;
use crate::host::files;

use super::{Client, LABEL};

/// Removes what a session has made in the daemon; false where the daemon does not answer.
pub(in crate::stage::verify) fn clean(folder: &Path, id: &str) -> bool {
    let Ok(Some(bytes)) = files::read_optional(&folder.join("docker.json")) else { return true };
    let Ok(client) = serde_json::from_slice::<Client>(&bytes) else { return true };
    // The run may have been told to stop: this is done all the same.
    let cancel = Cancel::default();
    let label = format!("label={LABEL}={id}");
    let Ok(containers) = client.run(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label], &cancel)
    else {
        return false;
    };
    let mut clean = remove(&client, &["rm", "--force", "--volumes"], &containers, &cancel);
    let networks = client.run(&["network", "ls", "--quiet", "--filter", &label], &cancel).unwrap_or_default();
    clean &= remove(&client, &["network", "rm"], &networks, &cancel);
    let Ok(entries) = std::fs::read_dir(folder) else { return clean };
    for entry in entries.flatten() {
        let Some(config) =
            entry.file_name().to_str().and_then(|name| name.strip_prefix("image-").map(str::to_owned))
        else {
            continue;
        };
        // One that is used elsewhere stays, and the daemon says so.
        let manifest = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for image in [format!("sha256:{config}"), manifest] {
            let _ = client.call(&["image", "rm", &image], &cancel);
        }
    }
    clean
}

fn remove(client: &Client, words: &[&str], ids: &str, cancel: &Cancel) -> bool {
    let ids: Vec<&str> = ids.split_whitespace().collect();
    ids.is_empty() || client.run(&[words, &ids[..]].concat(), cancel).is_ok()
}
