//! The server's metrics, scraped. (The tests in Python check that Prometheus can read the text.)

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Deadline, Server, http};

/// One scrape: the name and labels of each line, as written, and its value.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Scrapes the server, which must serve metrics.
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

    /// The value of a line, which must exist.
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// The sum of all lines of this metric.
    pub fn sum(&self, name: &str) -> f64 {
        let is_it =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(line, _)| is_it(line)).map(|(_, value)| value).sum()
    }

    /// Scrapes until `is_wanted`: for what the server learns from the network in its own time.
    #[track_caller]
    pub fn wait_for(server: &Server, is_wanted: impl Fn(&Self) -> bool) -> Self {
        let deadline = Deadline::new("other metrics");
        loop {
            let metrics = Self::of(server);
            if is_wanted(&metrics) {
                return metrics;
            }
            deadline.check(format_args!("{metrics:#?}"));
        }
    }
}
