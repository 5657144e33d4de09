//! The server's metrics, scraped: what each line of the text says. (That the text is what Prometheus reads is the matter of
//! the tests in Python.)

use super::{DEADLINE, Server, http};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// The metrics at one moment: each line's name and labels, as they are written, and its value.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Scrapes the server, which must have been started with metrics.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        Self::at(server.metrics_address())
    }

    /// Scrapes the endpoint at this address.
    #[track_caller]
    pub fn at(address: SocketAddr) -> Self {
        let answer = http::exchange(address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(values.collect())
    }

    /// The value of a line, which must be there.
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// All lines of this metric together.
    pub fn sum(&self, name: &str) -> f64 {
        let is_it =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(line, _)| is_it(line)).map(|(_, value)| value).sum()
    }

    /// Scrapes until `is_wanted`, for what the server learns only when the network tells it.
    #[track_caller]
    pub fn wait_for(server: &Server, is_wanted: impl Fn(&Self) -> bool) -> Self {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let metrics = Self::of(server);
            if is_wanted(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < give_up, "it never came to that: {metrics:#?}");
        }
    }
}
