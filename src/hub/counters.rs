//! What clients and producers have asked for since the start, in numbers that only grow.

use super::Hub;
use crate::api::{Code, EventType};
use crate::subscriptions::Subscriptions;
use crate::token::Tokens;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct HubCounters {
    /// Producers' lines that revoked something.
    pub revocations: u64,
    /// Producers' lines that could not be taken.
    pub refused_lines: u64,
    /// Subscriptions that ended before their client wanted, because what they rested on did.
    pub lost_subscriptions: [u64; Code::ALL.len()],
    /// Replies to requests, by code.
    pub replies: [u64; Code::ALL.len()],
    /// Events taken from producers, by type.
    pub events: [u64; EventType::ALL.len()],
    /// Events queued for a subscriber each, by type.
    pub deliveries: [u64; EventType::ALL.len()],
}

impl Hub {
    /// What has been asked for since the start.
    #[must_use]
    pub const fn counters(&self) -> &HubCounters {
        &self.counters
    }

    /// Who listens to what.
    #[must_use]
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// What is known of tokens.
    #[must_use]
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}
