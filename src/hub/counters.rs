//! Counters of requests, events and revocations since the start.

use super::Hub;
use crate::api::{Code, EventType};
use crate::subscriptions::Subscriptions;
use crate::token::Tokens;

/// Counters of one hub.
#[derive(Clone, Debug, Default)]
pub struct HubCounters {
    /// `revoke` lines taken from producers.
    pub revocations: u64,
    /// Producers' lines that were refused.
    pub refused_lines: u64,
    /// Subscriptions ended because their authorization lapsed, by the code sent to the client.
    pub lost_subscriptions: [u64; Code::ALL.len()],
    /// Replies to requests, by code.
    pub replies: [u64; Code::ALL.len()],
    /// Events taken from producers, by type.
    pub events: [u64; EventType::ALL.len()],
    /// Events queued for subscribers, counted once for each subscriber, by type.
    pub deliveries: [u64; EventType::ALL.len()],
}

impl Hub {
    /// The counters since the start.
    #[must_use]
    pub const fn counters(&self) -> &HubCounters {
        &self.counters
    }

    /// The subscriptions.
    #[must_use]
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// The keys and verified tokens.
    #[must_use]
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}
