//! Housekeeping of the event service: files that change, and the access service.

use super::access_socket::AccessSocket;
use super::event_loop::Housekeeping;
use super::reload::Reload;
use crate::hub::Hub;
use crate::metrics::Reloads;
use crate::server::Server;
use crate::time::{Monotonic, Now};
use mio::Registry;
use mio::event::Event;
use std::time::Duration;

/// Reloads files and drives the access service's socket.
#[derive(Debug)]
pub(super) struct Household {
    pub(super) reload: Reload,
    /// With `[access] mode = socket`.
    pub(super) access: Option<AccessSocket>,
}

impl Housekeeping<Hub> for Household {
    const EVERY: Option<Duration> = Some(Duration::from_secs(1));

    fn tick(&mut self, server: &mut Server<Hub>, now: Now) {
        self.reload.look(server, now);
    }

    fn reload(&mut self, server: &mut Server<Hub>, now: Now) -> bool {
        self.reload.reload(server, now);
        true
    }

    fn reloads(&self) -> Reloads {
        self.reload.counters()
    }

    fn ready(&mut self, event: &Event) {
        if let Some(access) = &mut self.access {
            access.ready(event);
        }
    }

    fn turn(&mut self, server: &mut Server<Hub>, registry: &Registry, buffer: &mut [u8], now: Now) {
        if let Some(access) = &mut self.access {
            access.turn(server, registry, buffer, now);
        }
    }

    fn has_work(&self) -> bool {
        self.access.as_ref().is_some_and(AccessSocket::has_work)
    }

    fn next_deadline(&self, server: &Server<Hub>) -> Option<Monotonic> {
        server.service().access_attempt().filter(|_| self.access.is_some())
    }
}
