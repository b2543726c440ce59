//! Bazel's remote cache protocol over HTTP: entries below `/ac/`, files below `/cas/`, both by SHA-256, with GET,
//! HEAD and PUT.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::action;
use super::remote::{ENTRY_LIMIT, Store};
use crate::host::http::{Body, Client, Method, Request, Response};
use crate::oci::layer::reader::Checked;
use crate::oci::registry::auth::Secret;
use crate::oci::types::Digest;

/// A server of the protocol.
#[derive(Debug)]
pub struct Server {
    client: Client,
    /// Without a slash at its end.
    url: String,
    /// The value of an `Authorization` header.
    authorization: Option<Secret>,
}

impl Server {
    pub fn new(client: Client, url: &str, authorization: Option<Secret>) -> Self {
        Self { client, url: url.trim_end_matches('/').to_owned(), authorization }
    }

    fn url(&self, place: &str) -> String {
        format!("{}/{place}", self.url)
    }

    fn send<'a>(&self, method: Method, url: &'a str, body: Body<'a>) -> anyhow::Result<Response> {
        let mut headers = Vec::new();
        headers.extend(self.authorization.as_ref().map(|value| ("authorization", value.expose().to_owned())));
        if method == Method::Put {
            headers.push(("content-type", "application/octet-stream".to_owned()));
        }
        Ok(self.client.send(Request { method, url, headers, body })?)
    }

    /// An answer to a question, or `None` where the server has nothing.
    fn ask(&self, method: Method, place: &str) -> anyhow::Result<Option<Response>> {
        let response = self.send(method, &self.url(place), Body::Empty)?;
        match response.status {
            200 => Ok(Some(response)),
            404 | 410 => Ok(None),
            status => bail!("it answered {status}"),
        }
    }

    fn put<'a>(&self, url: &'a str, body: Body<'a>) -> anyhow::Result<()> {
        match self.send(Method::Put, url, body)?.status {
            200..=204 => Ok(()),
            status @ (413 | 507) => bail!("it has no room: it answered {status}"),
            status => bail!("it answered {status}"),
        }
    }
}

impl Store for Server {
    fn entry(&self, key: &Digest) -> anyhow::Result<Option<String>> {
        let Some(response) = self.ask(Method::Get, &format!("ac/{}", key.hex()))? else { return Ok(None) };
        // What is no entry at all is no trusted writer's.
        Ok(Some(action::decode(&response.bytes(ENTRY_LIMIT)?).unwrap_or_default()))
    }

    fn put_entry(&self, key: &Digest, text: &str, files: &[(Digest, u64)]) -> anyhow::Result<()> {
        let url = self.url(&format!("ac/{}", key.hex()));
        self.put(&url, Body::Bytes(&action::encode(text, files)))
    }

    fn fetch(&self, digest: &Digest, size: u64, target: &mut dyn Write) -> anyhow::Result<bool> {
        let Some(response) = self.ask(Method::Get, &format!("cas/{}", digest.hex()))? else {
            return Ok(false);
        };
        let copied = std::io::copy(&mut response.reader().take(size), target)?;
        if copied < size {
            bail!("it sent {copied} of {size} bytes");
        }
        Ok(true)
    }

    fn send(&self, file: &Path, digest: &Digest, size: u64) -> anyhow::Result<()> {
        let place = format!("cas/{}", digest.hex());
        if self.ask(Method::Head, &place)?.is_some() {
            return Ok(());
        }
        let source = std::fs::File::open(file).context("a file of the user's own store is gone")?;
        // A file that was damaged here ends in an error, and the request unfinished.
        let mut source = Checked::new(source, digest);
        self.put(&self.url(&place), Body::Stream { source: &mut source, size })
    }
}
