//! The kinds of faults, how often each occurs in an episode, and how often it did.

use crate::random::Random;

macro_rules! faults {
    ($($name:ident,)*) => {
        /// A kind of fault. [`Faults::happened`] counts it once it has an effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Fault {
            $($name,)*
        }

        pub(crate) const ALL: [Fault; Fault::COUNT] = [$(Fault::$name,)*];
    };
}

faults! {
    // A peer's input.
    CutInput,
    InvalidFrame,
    InvalidUtf8,
    OversizedMessage,
    TooManyFragments,
    UnfinishedMessage,
    BadClose,
    PingFlood,
    FrameFlood,
    UnreadPongs,
    UnaskedPong,
    EmptyFrameFlood,
    RequestFlood,
    BadTokenFlood,
    BadRequest,
    BadHead,
    SlowHead,
    SlotsFull,
    // A peer's output and its transport.
    ShortWrite,
    SpuriousBlock,
    BlockedWriter,
    QueueFull,
    NothingRead,
    BudgetReached,
    WriteError,
    Reset,
    EndOfStream,
    UnansweredPing,
    UnansweredClose,
    CloseInFanOut,
    SlotReuse,
    StaleEvent,
    // The system.
    ShortRead,
    EmptyRead,
    Interrupted,
    NoDescriptors,
    Unwatchable,
    ProcessStopped,
    // The clocks.
    WallForward,
    WallBack,
    LateWake,
    // Rights.
    TokenExpiry,
    RevokedUser,
    RevokedEvent,
    AccessChange,
    KeyChange,
    ServiceLost,
    ServiceLate,
    ServiceSilent,
    ServiceGarbage,
    // Producers.
    CutLine,
    LastLineUnended,
    CutJson,
    OversizedLine,
    BadLine,
    UnreadAnswers,
    ProducerWaits,
    TooManyProducers,
    NoRoomForLine,
    // The server.
    Drain,
    SecondStop,
}

impl Fault {
    pub(crate) const COUNT: usize = Self::SecondStop as usize + 1;

    /// How often it occurs in an episode that has it, per thousand opportunities.
    const fn rate(self) -> usize {
        match self {
            Self::CutInput => 120,
            Self::ShortWrite => 60,
            Self::SpuriousBlock => 30,
            Self::WriteError | Self::Reset | Self::EndOfStream | Self::CloseInFanOut => 4,
            Self::BlockedWriter => 60,
            Self::UnaskedPong => 40,
            Self::PingFlood | Self::EmptyFrameFlood | Self::RequestFlood => 5,
            Self::BadTokenFlood => 10,
            Self::BadHead | Self::SlowHead | Self::UnansweredPing => 25,
            Self::BadRequest => 40,
            Self::WallForward | Self::WallBack | Self::LateWake => 40,
            Self::ProcessStopped => 30,
            Self::NoDescriptors => 60,
            Self::Unwatchable => 4,
            Self::RevokedUser | Self::RevokedEvent => 15,
            Self::AccessChange | Self::KeyChange => 50,
            Self::ServiceSilent => 10,
            Self::StaleEvent => 300,
            Self::BadLine => 40,
            Self::OversizedLine | Self::CutLine | Self::LastLineUnended | Self::CutJson => 8,
            Self::UnreadAnswers => 100,
            _ => 50,
        }
    }
}

/// An episode's faults.
#[derive(Debug)]
pub(crate) struct Faults {
    rates: [usize; Fault::COUNT],
    pub(crate) counts: [u64; Fault::COUNT],
}

impl Faults {
    /// About two thirds of all kinds, and those of `focus` eight times as often as usual.
    pub(crate) fn new(random: &mut Random, focus: &[Fault]) -> Self {
        let mut rates = [0; Fault::COUNT];
        for fault in ALL {
            let rate = if random.chance(666) { fault.rate() } else { 0 };
            rates[fault as usize] = if focus.contains(&fault) { (fault.rate() * 8).min(700) } else { rate };
        }
        Self { rates, counts: [0; Fault::COUNT] }
    }

    /// Ends all faults.
    pub(crate) const fn end(&mut self) {
        self.rates = [0; Fault::COUNT];
    }

    /// Whether the fault occurs now.
    pub(crate) const fn strikes(&self, fault: Fault, random: &mut Random) -> bool {
        self.rates[fault as usize] > 0 && random.chance(self.rates[fault as usize])
    }

    /// Whether the fault occurs now; if so, counts it at once.
    pub(crate) const fn strike(&mut self, fault: Fault, random: &mut Random) -> bool {
        let strikes = self.strikes(fault, random);
        if strikes {
            self.happened(fault);
        }
        strikes
    }

    pub(crate) const fn happened(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }
}
