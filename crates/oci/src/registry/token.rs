//! Being let in: the challenge that a registry sends, changed for an `Authorization` (distribution's
//! token authentication; the OAuth2 form for identity tokens).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::auth::{Credential, Secret};
use super::challenge::Challenge;
use super::{Failure, Remote, Scopes, locked};
use crate::fault::{Exit, Fault};
use crate::host::http::{Body, Method, Request, with_query};

const TOKEN_LIMIT: u64 = 1 << 20;

/// `Authorization` values by host and scopes.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    held: Mutex<BTreeMap<(String, Scopes), Grant>>,
    /// One negotiation at a time: the others take what it brings.
    turn: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Grant {
    authorization: Secret,
    /// Absent: a password, which doesn't expire.
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds.
    expires_in: Option<f64>,
}

impl Tokens {
    pub(super) fn get(&self, host: &str, scopes: &Scopes) -> Option<Secret> {
        let held = locked(&self.held);
        let grant = held.get(&(host.to_owned(), scopes.clone()))?;
        grant.until.is_none_or(|until| Instant::now() < until).then(|| grant.authorization.clone())
    }

    fn set(&self, host: &str, scopes: &Scopes, grant: Grant) {
        locked(&self.held).insert((host.to_owned(), scopes.clone()), grant);
    }
}

impl Remote {
    /// A new `Authorization` after a 401. `refused`: what was sent with the request; where that was
    /// a password, there is nothing better to send: `None`.
    pub(super) fn negotiate(
        &self,
        challenges: &[Challenge],
        scopes: &Scopes,
        refused: Option<&Secret>,
    ) -> Result<Option<Secret>, Failure> {
        let host = &self.repository.host;
        let tokens = &self.shared().tokens;
        let _turn = locked(&tokens.turn);
        if let Some(newer) = tokens.get(host, scopes)
            && refused != Some(&newer)
        {
            return Ok(Some(newer));
        }
        let cancel = &self.shared().cancel;
        let credentials = self.client.credentials().map_err(Failure::Final)?;
        let credential = credentials.find(&self.repository, cancel).map_err(Failure::Final)?;
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let grant = match bearer.or(challenges.first()) {
            Some(Challenge::Bearer { realm, service, .. }) => {
                self.fetch(realm, service.as_deref(), scopes, credential.as_ref())?
            }
            Some(Challenge::Basic) => match credential.as_ref().and_then(Credential::basic) {
                Some(authorization) if refused != Some(&authorization) => {
                    Grant { authorization, until: None }
                }
                _ => return Ok(None),
            },
            None => return Ok(None),
        };
        tokens.set(host, scopes, grant.clone());
        Ok(Some(grant.authorization))
    }

    fn fetch(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &Scopes,
        credential: Option<&Credential>,
    ) -> Result<Grant, Failure> {
        let response = match credential {
            Some(Credential::Identity(refresh)) => {
                let scope = scopes.0.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                let mut pairs = vec![
                    ("grant_type", "refresh_token"),
                    ("client_id", "longshore"),
                    ("scope", &scope),
                    ("refresh_token", refresh.expose()),
                ];
                pairs.extend(service.map(|service| ("service", service)));
                let form = with_query("", &pairs);
                let form = form.trim_start_matches('?');
                let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
                let body = Body::Bytes(form.as_bytes());
                self.shared().http.send(Request { method: Method::Post, url: realm, headers, body })?
            }
            other => {
                let mut pairs: Vec<(&str, &str)> = Vec::new();
                pairs.extend(service.map(|service| ("service", service)));
                pairs.extend(scopes.0.iter().map(|scope| ("scope", scope.as_str())));
                let url = with_query(realm, &pairs);
                let mut headers = vec![("accept", "application/json".to_owned())];
                let basic = other.and_then(Credential::basic);
                headers.extend(basic.map(|basic| ("authorization", basic.expose().to_owned())));
                self.shared().http.send(Request {
                    method: Method::Get,
                    url: &url,
                    headers,
                    body: Body::Empty,
                })?
            }
        };
        let bytes = self.accept(response, &[200])?.bytes(TOKEN_LIMIT)?;
        let nothing = || {
            let fault = Fault::new(Exit::Outside, "the registry's token server gave no token");
            Failure::Final(fault.hint("it is safe to run it again").into())
        };
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| nothing())?;
        let token =
            answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(nothing)?;
        // A header can't hold these, and no token has them.
        if token.chars().any(|c| c.is_control() || c == ' ') {
            return Err(nothing());
        }
        // Sixty seconds where the server says nothing (distribution's token specification).
        let lives = Duration::from_secs_f64(answer.expires_in.unwrap_or(60.0).clamp(1.0, 86_400.0));
        let until = Instant::now() + lives.mul_f64(0.9);
        Ok(Grant { authorization: Secret::new(format!("Bearer {token}")), until: Some(until) })
    }
}
