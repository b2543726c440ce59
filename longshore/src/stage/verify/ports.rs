//! Ports of services that share this machine's loopback address: each gets a free one, told to it and to
//! those that call it through the variables that hold the declared one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use crate::fault::{Exit, Fault, FaultContext as _};

use super::Task;

/// Gives each service a free port where a variable can tell it; returns the declared ports that stay.
pub(super) fn settle(tasks: &mut [Task]) -> anyhow::Result<Vec<u16>> {
    let mut moved = Vec::new();
    let mut fixed: Vec<u16> = Vec::new();
    for task in &mut *tasks {
        let Some(port) = task.port else { continue };
        if told(&task.env, port) {
            let new = free().fault(Exit::Machine, "no verdict: there is no free port")?;
            move_own(&mut task.env, port, new);
            task.port = Some(new);
            moved.push((task.service.clone(), port, new));
        } else {
            if fixed.contains(&port) {
                return Err(port_taken(port, tasks).into());
            }
            fixed.push(port);
            moved.push((task.service.clone(), port, port));
        }
    }
    for task in tasks {
        for (name, port, new) in &moved {
            move_needed(&mut task.env, name, *port, *new);
        }
    }
    Ok(fixed)
}

/// Sees that the declared ports that stay are free.
pub(super) fn ensure_free(fixed: &[u16], tasks: &[Task]) -> anyhow::Result<()> {
    for port in fixed {
        // On every address, as services do.
        if let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)) {
            return Err(anyhow::Error::from(error).context(port_taken(*port, tasks)));
        }
    }
    Ok(())
}

fn port_taken(port: u16, tasks: &[Task]) -> Fault {
    let services = tasks.iter().filter(|task| task.port == Some(port));
    let names: Vec<String> = services.map(|task| format!("`{}`", task.service)).collect();
    Fault::new(Exit::Machine, format!("no verdict: port {port} of {} is not free", names.join(" and "))).hint(
        "declare a build-arg or variable that holds the port, so that another one can be given; or end what \
         listens there",
    )
}

/// A port that nothing listens on now.
pub(crate) fn free() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether a variable tells the service its port.
pub(crate) fn told(env: &BTreeMap<String, String>, port: u16) -> bool {
    env.values().any(|value| listening(value, port).is_some())
}

/// Puts `new` where a variable holds `port`: `8080`, `:8080`, or an address of this machine with it.
pub(crate) fn move_own(env: &mut BTreeMap<String, String>, port: u16, new: u16) {
    for value in env.values_mut() {
        if let Some(before) = listening(value, port) {
            *value = format!("{before}{new}");
        }
    }
}

/// Puts `127.0.0.1:new` for `name:port` wherever it stands in a value, as in `http://orders:8080/v1`.
pub(crate) fn move_needed(env: &mut BTreeMap<String, String>, name: &str, port: u16, new: u16) {
    let wanted = format!("{name}:{port}");
    for value in env.values_mut() {
        *value = replaced(value, &wanted, &format!("127.0.0.1:{new}"));
    }
}

/// What stands before the port in a value that is an address to listen on.
fn listening(value: &str, port: u16) -> Option<&str> {
    let before = value.strip_suffix(&port.to_string())?;
    matches!(before, "" | ":" | "0.0.0.0:" | "127.0.0.1:" | "localhost:" | "[::]:" | "[::1]:")
        .then_some(before)
}

/// `from` where it is a host and port of its own, and no part of a longer one.
fn replaced(value: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        out.push_str(before);
        let joined = out.ends_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let longer = after.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if joined || longer { from } else { to });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_services_own_port_moves_where_a_variable_is_an_address_with_it() {
        let mut values = env(&[
            ("SERVER_PORT", "8080"),
            ("ADDR", ":8080"),
            ("BIND", "0.0.0.0:8080"),
            ("ORDERS", "http://orders:8080"),
            ("LIMIT", "18080"),
        ]);
        assert!(told(&values, 8080));
        assert!(!told(&env(&[("LIMIT", "18080")]), 8080));
        move_own(&mut values, 8080, 4711);
        let expected = [
            ("SERVER_PORT", "4711"),
            ("ADDR", ":4711"),
            ("BIND", "0.0.0.0:4711"),
            ("ORDERS", "http://orders:8080"),
            ("LIMIT", "18080"),
        ];
        assert_eq!(values, env(&expected));
    }

    #[test]
    fn a_needed_services_address_moves_and_its_namesakes_stay() {
        for (given, expected) in [
            ("http://orders:8080", "http://127.0.0.1:4711"),
            ("http://orders:8080/v1?x=orders:8080", "http://127.0.0.1:4711/v1?x=127.0.0.1:4711"),
            ("orders:80801", "orders:80801"),
            ("http://my-orders:8080", "http://my-orders:8080"),
            ("user@orders:8080,b:1", "user@127.0.0.1:4711,b:1"),
            ("", ""),
        ] {
            let mut values = env(&[("A", given)]);
            move_needed(&mut values, "orders", 8080, 4711);
            assert_eq!(values["A"], expected);
        }
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(ensure_free(&[listener.local_addr().unwrap().port()], &[]).is_err());
        assert!(ensure_free(&[free().unwrap()], &[]).is_ok());
    }
}
