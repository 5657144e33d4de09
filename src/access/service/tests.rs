use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::api::{EventType, ObjectId};

const QUESTIONS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(2);
const KEEP: Duration = Duration::from_secs(30);

fn user(number: u8) -> UserId {
    UserId(ObjectId::from_bytes([number; 12]))
}

fn dataset(number: u8) -> Option<Subject> {
    Some(Subject { kind: EventType::DatasetUpdate, id: Some(ObjectId::from_bytes([number; 12])) })
}

fn service() -> AccessService {
    AccessService::new(ServiceSettings { keep: KEEP, timeout: TIMEOUT, questions: QUESTIONS })
}

fn connected() -> AccessService {
    let mut service = service();
    service.handle_connected();
    service
}

/// Asks a question that is not answered at once, and sends it.
fn ask(service: &mut AccessService, user: UserId, subject: Option<Subject>, now: Monotonic) -> QuestionId {
    let Decision::Later(id) = service.decide(user, subject, now) else { panic!("nothing is kept") };
    let question = service.next_question().unwrap();
    assert_eq!(question, Question { reference: id.0, user, subject });
    id
}

fn answer(
    service: &mut AccessService,
    id: QuestionId,
    code: u8,
    now: Monotonic,
) -> Option<(QuestionId, Code)> {
    let line = format!("{{\"ref\":{},\"code\":{code}}}", id.0);
    service.handle_line(line.as_bytes(), now).unwrap()
}

fn unanswered(service: &mut AccessService, now: Monotonic) -> Vec<QuestionId> {
    std::iter::from_fn(|| service.poll_unanswered(now)).collect()
}

#[test]
fn answers_come_in_any_order() {
    let mut service = connected();
    let ids: Vec<_> =
        (0..6).map(|number| ask(&mut service, user(number), dataset(1), Monotonic(5))).collect();
    for (place, number, code) in
        [(4, 0, Code::Ok), (0, 3, Code::UserNotExists), (5, 4, Code::NoAccess), (2, 0, Code::Ok)]
    {
        assert_eq!(answer(&mut service, ids[place], number, Monotonic(6)), Some((ids[place], code)));
        assert_eq!(
            answer(&mut service, ids[place], number, Monotonic(6)),
            None,
            "a second answer is nobody's"
        );
    }
    assert_eq!(service.deadline(), Some(Monotonic(5) + TIMEOUT));
    assert_eq!(unanswered(&mut service, Monotonic(2004)), []);
    assert_eq!(unanswered(&mut service, Monotonic(2005)), [ids[1], ids[3]]);
    assert_eq!(service.deadline(), None);
}

#[test]
fn only_a_known_code_grants_access() {
    let mut service = connected();
    let now = Monotonic(0);
    let id = ask(&mut service, user(1), dataset(1), now);
    let reference = id.0;
    for garbage in [
        String::new(),
        "OK".to_owned(),
        "{".to_owned(),
        "0".to_owned(),
        format!("[{reference},0]"),
        format!("{{\"code\":0,\"ref\":\"{reference}\"}}"),
        format!("{{\"code\":0,\"ref\":{reference}.5}}"),
        "{\"code\":0}".to_owned(),
        format!("{{\"ref\":{reference},\"code\":0"),
        "\0".to_owned(),
        "[".repeat(100_000),
    ] {
        assert!(service.handle_line(garbage.as_bytes(), now).is_err(), "{garbage:.40}");
    }
    assert!(service.handle_line(b"{\"ref\":1,\"code\":0,\"x\":\"\xff\"}", now).is_err());
    // Answers to no question.
    for stranger in [0, reference + 1, reference + 1000, u64::MAX] {
        assert_eq!(answer(&mut service, QuestionId(stranger), 0, now), None);
    }
    assert!(matches!(service.handle_line(b"{\"ref\":-1,\"code\":0}", now), Err(_) | Ok(None)));
    // The question is still open: an unknown code is no decision.
    let line = format!("{{\"ref\":{reference},\"code\":\"0\"}}");
    assert_eq!(service.handle_line(line.as_bytes(), now).unwrap(), Some((id, Code::Unavailable)));
    for code in ["1", "2", "5", "8", "-0", "0.0", "true", "null", "[]", "03"] {
        let id = ask(&mut service, user(1), dataset(1), now);
        let line = format!("{{\"ref\":{},\"code\":{code}}}", id.0);
        match service.handle_line(line.as_bytes(), now) {
            Ok(Some((answered, code))) => assert_eq!((answered, code), (id, Code::Unavailable)),
            Ok(None) => panic!("{line} is an answer"),
            // Not JSON: the question times out.
            Err(_) => assert_eq!(unanswered(&mut service, now + TIMEOUT), [id]),
        }
    }
}

#[test]
fn an_answer_to_a_question_not_sent_yet_is_ignored() {
    let mut service = connected();
    let now = Monotonic(0);
    let Decision::Later(id) = service.decide(user(1), dataset(1), now) else { panic!() };
    assert_eq!(answer(&mut service, id, 0, now), None);
    assert_eq!(service.next_question().unwrap().reference, id.0);
    assert_eq!(service.next_question(), None);
    assert_eq!(answer(&mut service, id, 0, now), Some((id, Code::Ok)));
}

#[test]
fn silence_is_unavailable() {
    let mut service = connected();
    let first = ask(&mut service, user(1), dataset(1), Monotonic(0));
    let second = ask(&mut service, user(2), dataset(1), Monotonic(500));
    assert_eq!(unanswered(&mut service, Monotonic(1999)), []);
    // An answer at the deadline is too late, even if the timeout was not polled.
    assert_eq!(answer(&mut service, first, 0, Monotonic(2000)), None);
    assert_eq!(unanswered(&mut service, Monotonic(2000)), [first]);
    assert_eq!(answer(&mut service, first, 0, Monotonic(2000)), None);
    assert_eq!(answer(&mut service, second, 0, Monotonic(2499)), Some((second, Code::Ok)));
    // A late answer is not kept either.
    assert!(matches!(service.decide(user(1), dataset(1), Monotonic(2500)), Decision::Later(_)));
}

#[test]
fn a_question_that_timed_out_is_never_sent() {
    let mut service = connected();
    let Decision::Later(old) = service.decide(user(1), dataset(1), Monotonic(0)) else { panic!() };
    let Decision::Later(new) = service.decide(user(2), dataset(1), Monotonic(1000)) else { panic!() };
    assert_eq!(unanswered(&mut service, Monotonic(2000)), [old]);
    assert_eq!(service.next_question().unwrap().reference, new.0);
}

#[test]
fn the_number_of_questions_is_limited() {
    let mut service = connected();
    let now = Monotonic(0);
    let ids: Vec<_> = (0..8).map(|number| ask(&mut service, user(number), dataset(1), now)).collect();
    let unavailable = Decision::Now(Code::Unavailable);
    assert_eq!(service.decide(user(9), dataset(1), now), unavailable);
    // Kept answers still decide. The first question holds the places of those answered behind it.
    answer(&mut service, ids[7], 0, now);
    assert_eq!(service.decide(user(7), dataset(1), now), Decision::Now(Code::Ok));
    assert_eq!(service.decide(user(9), dataset(1), now), unavailable);
    answer(&mut service, ids[0], 0, now);
    ask(&mut service, user(9), dataset(1), now);
    assert_eq!(unanswered(&mut service, now + TIMEOUT).len(), 7);
    assert!(matches!(service.decide(user(10), dataset(1), now + TIMEOUT), Decision::Later(_)));
}

#[test]
fn without_a_connection_no_user_gets_access() {
    let mut service = service();
    assert_eq!(service.next_attempt(), Some(Monotonic(0)));
    let unavailable = Decision::Now(Code::Unavailable);
    assert_eq!(service.decide(user(1), dataset(1), Monotonic(0)), unavailable);
    service.handle_connected();
    assert_eq!(service.next_attempt(), None);
    let sent = ask(&mut service, user(1), dataset(1), Monotonic(10));
    let Decision::Later(unsent) = service.decide(user(2), dataset(1), Monotonic(10)) else { panic!() };
    service.handle_disconnected(Monotonic(20), 0);
    assert_eq!(service.next_question(), None);
    assert_eq!(unanswered(&mut service, Monotonic(20)), [sent, unsent]);
    assert_eq!(service.decide(user(1), dataset(1), Monotonic(20)), unavailable);
    // The next connection knows nothing of the questions of the last one.
    service.handle_connected();
    assert_eq!(answer(&mut service, sent, 0, Monotonic(30)), None);
    assert_eq!(service.next_question(), None);
    let again = ask(&mut service, user(1), dataset(1), Monotonic(30));
    assert!(again > unsent);
    assert_eq!(answer(&mut service, again, 0, Monotonic(31)), Some((again, Code::Ok)));
}

#[test]
fn kept_answers_count_while_the_service_is_away() {
    let mut service = connected();
    let id = ask(&mut service, user(1), dataset(1), Monotonic(0));
    answer(&mut service, id, 0, Monotonic(1000));
    service.handle_disconnected(Monotonic(1000), 0);
    assert_eq!(service.decide(user(1), dataset(1), Monotonic(30_999)), Decision::Now(Code::Ok));
    assert_eq!(service.decide(user(1), dataset(1), Monotonic(31_000)), Decision::Now(Code::Unavailable));
}

#[test]
fn answers_are_kept_for_just_this_question() {
    let mut service = connected();
    let now = Monotonic(0);
    for (number, subject, code, kept) in [
        (1, dataset(1), 0, Some(Code::Ok)),
        (2, dataset(1), 3, Some(Code::UserNotExists)),
        (1, dataset(2), 4, Some(Code::NoAccess)),
        (1, None, 0, Some(Code::Ok)),
        (3, None, 7, None),
    ] {
        let id = ask(&mut service, user(number), subject, now);
        assert!(answer(&mut service, id, code, now).is_some());
        match (service.decide(user(number), subject, now), kept) {
            (Decision::Now(code), Some(kept)) => assert_eq!(code, kept),
            (Decision::Later(id), None) => assert_eq!(service.next_question().unwrap().reference, id.0),
            other => panic!("{other:?}"),
        }
    }
    let upload = Some(Subject { kind: EventType::UploadFile, ..dataset(1).unwrap() });
    assert!(matches!(service.decide(user(1), upload, now), Decision::Later(_)));
}

#[test]
fn no_answer_is_kept_if_caching_is_off() {
    let mut service =
        AccessService::new(ServiceSettings { keep: Duration::ZERO, timeout: TIMEOUT, questions: QUESTIONS });
    service.handle_connected();
    for _ in 0..2 {
        let id = ask(&mut service, user(1), dataset(1), Monotonic(0));
        assert!(answer(&mut service, id, 0, Monotonic(0)).is_some());
    }
}

#[test]
fn a_revoked_right_is_asked_for_again() {
    let mut service = connected();
    let now = Monotonic(0);
    let (known, other, on_its_way) = (dataset(1), dataset(2), dataset(3));
    for subject in [None, known, other] {
        let id = ask(&mut service, user(1), subject, now);
        answer(&mut service, id, 0, now);
    }
    let id = ask(&mut service, user(1), on_its_way, now);
    service.revoke(user(1), known, now);
    service.revoke(user(1), on_its_way, now);
    assert!(matches!(service.decide(user(1), known, now), Decision::Later(_)), "the one taken back");
    assert_eq!(service.decide(user(1), other, now), Decision::Now(Code::Ok), "another");
    assert_eq!(service.decide(user(1), None, now), Decision::Now(Code::Ok), "the user still exists");
    assert_eq!(answer(&mut service, id, 0, now), Some((id, Code::NoAccess)), "asked before, answered after");
    service.next_question();
    let id = ask(&mut service, user(1), on_its_way, now);
    assert_eq!(answer(&mut service, id, 0, now), Some((id, Code::Ok)), "asked after");

    let id = ask(&mut service, user(1), dataset(4), now);
    service.revoke(user(1), None, now);
    assert_eq!(answer(&mut service, id, 0, now), Some((id, Code::UserNotExists)));
    for subject in [None, known, other, on_its_way] {
        assert!(matches!(service.decide(user(1), subject, now), Decision::Later(_)), "{subject:?}");
    }
}

#[test]
fn revocations_are_bounded_and_none_is_lost() {
    let mut service = connected();
    let now = Monotonic(0);
    let kept = ask(&mut service, user(1), dataset(1), now);
    answer(&mut service, kept, 0, now);
    let on_its_way = ask(&mut service, user(1), dataset(2), now);
    service.revoke(user(1), None, now);
    let others = (0..u32::try_from(MAX_REVOCATIONS).unwrap()).map(|number| {
        let mut id = [0xff; 12];
        id[..4].copy_from_slice(&number.to_le_bytes());
        UserId(ObjectId::from_bytes(id))
    });
    others.for_each(|other| service.revoke(other, None, now));
    assert!(service.revocations.len() <= MAX_REVOCATIONS);
    assert_eq!(answer(&mut service, on_its_way, 0, now), None);
    assert_eq!(unanswered(&mut service, now), [on_its_way]);
    assert!(matches!(service.decide(user(1), dataset(1), now), Decision::Later(_)));
    // They are dropped once no earlier answer can be in use.
    service.revoke(user(1), None, now + KEEP);
    assert_eq!(service.revocations.len(), 1);
}

#[test]
fn kept_answers_are_bounded() {
    let mut answers = Answers::new(KEEP, 3);
    for (number, now) in (0..10).zip((0..).step_by(1000)) {
        answers.keep((user(number), None), QuestionId(number.into()), Code::Ok, Monotonic(now));
    }
    let known: Vec<_> =
        (0..10).filter(|number| answers.get(&(user(*number), None), Monotonic(9000)).is_some()).collect();
    assert_eq!(known, [7, 8, 9]);
    // A newer answer to the same question is not dropped with the older one.
    let mut answers = Answers::new(KEEP, 10);
    answers.keep((user(1), None), QuestionId(1), Code::Ok, Monotonic(0));
    answers.keep((user(1), None), QuestionId(2), Code::NoAccess, Monotonic(20_000));
    answers.keep((user(2), None), QuestionId(3), Code::Ok, Monotonic(40_000));
    assert_eq!(answers.get(&(user(1), None), Monotonic(40_000)), Some((Code::NoAccess, QuestionId(2))));
}

#[test]
fn pauses_grow_with_jitter_until_an_answer_comes() {
    let mut service = service();
    let now = Monotonic(1_000_000);
    let pause = |service: &mut AccessService, random| {
        service.handle_disconnected(now, random);
        service.next_attempt().unwrap() - now
    };
    let millis = Duration::from_millis;
    for (shortest, longest) in [
        (50, 100),
        (100, 200),
        (200, 400),
        (400, 800),
        (800, 1600),
        (1600, 3200),
        (3200, 6400),
        (5000, 10_000),
        (5000, 10_000),
    ] {
        let before = service.pause;
        let mut seen: Vec<_> = [0, 17, shortest, u64::MAX]
            .map(|random| {
                service.pause = before;
                pause(&mut service, random)
            })
            .into();
        assert!(seen.iter().all(|pause| (millis(shortest)..=millis(longest)).contains(pause)), "{seen:?}");
        assert_eq!(seen[0], millis(shortest));
        assert_eq!(seen[2], millis(longest));
        seen.dedup();
        assert!(seen.len() > 2);
    }
    // A connection does not reset the pause; an answer does.
    service.handle_connected();
    assert!(pause(&mut service, 0) >= millis(5000));
    service.handle_connected();
    let id = ask(&mut service, user(1), dataset(1), now);
    answer(&mut service, id, 0, now);
    assert_eq!(pause(&mut service, 0), millis(50));
}

#[derive(Clone, Debug)]
enum Event {
    Decide {
        user: u8,
        dataset: u8,
    },
    Send,
    /// An answer to one of the last questions, or to one that was never asked.
    Answer {
        back: u64,
        code: u8,
    },
    Garbage,
    Wait(u64),
    Revoke {
        user: u8,
        dataset: Option<u8>,
    },
    Disconnect,
    Connect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..3_u8, 0..3_u8).prop_map(|(user, dataset)| Event::Decide { user, dataset }),
        6 => Just(Event::Send),
        8 => (0..8_u64, prop::sample::select(vec![0, 0, 0, 3, 4, 9])).prop_map(|(back, code)| Event::Answer { back, code }),
        1 => Just(Event::Garbage),
        4 => prop_oneof![0..100_u64, 1000..3000_u64, 20_000..40_000_u64].prop_map(Event::Wait),
        1 => (0..3_u8, prop::option::of(0..3_u8)).prop_map(|(user, dataset)| Event::Revoke { user, dataset }),
        1 => Just(Event::Disconnect),
        2 => Just(Event::Connect),
    ]
}

/// What is true of a question, as an onlooker sees it.
struct Asked {
    about: About,
    deadline: Monotonic,
    sent: bool,
    revoked: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the service does, each question ends once: by the service's own answer, in time and on the connection
    /// that carried the question, or as unavailable. No answer to a question asked before a revocation grants the
    /// revoked right.
    #[test]
    fn whatever_the_service_does_it_fails_closed(events in prop::collection::vec(event(), 1..120)) {
        let mut service = connected();
        let mut now = Monotonic(0);
        let mut is_up = true;
        let mut open: HashMap<QuestionId, Asked> = HashMap::new();
        // By what was granted: until when, and not for longer, the answer may be kept.
        let mut granted: HashMap<About, Monotonic> = HashMap::new();
        let mut last = 0;
        for event in events {
            match event {
                Event::Decide { user: number, dataset: object } => {
                    let about = (user(number), dataset(object));
                    match service.decide(about.0, about.1, now) {
                        Decision::Later(id) => {
                            prop_assert!(is_up && id.0 == last + 1);
                            last = id.0;
                            let deadline = now + TIMEOUT;
                            open.insert(id, Asked { about, deadline, sent: false, revoked: false });
                        }
                        Decision::Now(Code::Ok) => prop_assert!(granted.get(&about).is_some_and(|until| now < *until)),
                        Decision::Now(Code::Unavailable) => {
                            let oldest = open.keys().map(|id| id.0).min();
                            let is_full = oldest.is_some_and(|oldest| last + 1 - oldest >= QUESTIONS as u64);
                            prop_assert!(!is_up || is_full);
                        }
                        Decision::Now(_) => {}
                    }
                }
                Event::Send => {
                    if let Some(question) = service.next_question() {
                        let asked = open.get_mut(&QuestionId(question.reference)).unwrap();
                        prop_assert!(is_up && !asked.sent);
                        asked.sent = true;
                    }
                }
                Event::Answer { back, code } => {
                    let id = QuestionId((last + 1).saturating_sub(back));
                    if let Some((answered, outcome)) = answer(&mut service, id, code, now) {
                        prop_assert_eq!(answered, id);
                        let asked = open.remove(&id).unwrap();
                        prop_assert!(is_up && asked.sent && now < asked.deadline);
                        let said = match code {
                            _ if asked.revoked => [Code::UserNotExists, Code::NoAccess].contains(&outcome),
                            0 => outcome == Code::Ok,
                            3 => outcome == Code::UserNotExists,
                            4 => outcome == Code::NoAccess,
                            _ => outcome == Code::Unavailable,
                        };
                        prop_assert!(said, "{} became {:?}", code, outcome);
                        if outcome == Code::Ok {
                            granted.insert(asked.about, now + KEEP);
                        }
                    }
                }
                Event::Garbage => prop_assert!(service.handle_line(b"garbage", now).is_err()),
                Event::Wait(millis) => now = now + Duration::from_millis(millis),
                Event::Revoke { user: number, dataset: object } => {
                    let object = object.map(|object| dataset(object).unwrap());
                    service.revoke(user(number), object, now);
                    let concerns = |about: &About| about.0 == user(number) && (object.is_none() || about.1 == object);
                    granted.retain(|about, _| !concerns(about));
                    open.values_mut().filter(|asked| concerns(&asked.about)).for_each(|asked| asked.revoked = true);
                }
                Event::Disconnect => {
                    service.handle_disconnected(now, 0);
                    is_up = false;
                }
                Event::Connect => {
                    service.handle_connected();
                    is_up = true;
                }
            }
            for id in unanswered(&mut service, now) {
                let asked = open.remove(&id).unwrap();
                prop_assert!(!is_up || asked.deadline <= now);
            }
            prop_assert!(is_up || open.is_empty());
            prop_assert_eq!(service.deadline(), open.values().map(|asked| asked.deadline).min());
            prop_assert_eq!(service.next_attempt().is_none(), is_up);
        }
    }
}

#[test]
fn s65_the_questions_of_one_user_never_delay_those_of_another() {
    let settings = ServiceSettings { keep: KEEP, timeout: TIMEOUT, questions: 100_000 };
    let mut service = AccessService::new(settings);
    service.handle_connected();
    let now = Monotonic(0);
    let subject = |number: u32| {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Some(Subject { kind: EventType::DatasetUpdate, id: Some(ObjectId::from_bytes(id)) })
    };
    let mut taken = 0;
    let refused = (0..20_000).find(|&number| match service.decide(user(1), subject(number), now) {
        Decision::Later(_) => {
            taken += 1;
            false
        }
        Decision::Now(code) => code == Code::Unavailable,
    });
    assert_eq!((refused, taken), (Some(12_500), 12_500), "an eighth of all");
    let mut sent: Vec<QuestionId> = std::iter::from_fn(|| service.next_question())
        .map(|question| QuestionId(question.reference))
        .collect();
    assert_eq!(sent.len(), 16, "the service is not flooded with them");
    // The next question sent is the other user's, however many wait.
    ask(&mut service, user(2), dataset(1), now);
    assert_eq!(service.next_question(), None);
    // Each answer lets one more be sent, round robin over users.
    for _ in 0..100 {
        assert!(answer(&mut service, sent.remove(0), 0, now).is_some());
        let Decision::Later(other) = service.decide(user(2), subject(77), now) else { panic!() };
        let next = [(); 2].map(|()| service.next_question().unwrap().reference);
        assert!(next.contains(&other.0), "{next:?}");
        sent.extend(next.into_iter().filter(|&id| id != other.0).map(QuestionId));
        assert!(answer(&mut service, other, 4, now).is_some());
        service.answers.clear();
    }
    // None is lost: in the end all are answered or timed out.
    let left = unanswered(&mut service, now + TIMEOUT).len();
    assert!(left > 12_000 && service.in_flight.is_empty(), "{left}");
    assert_eq!(service.turns.count(user(1)), 0);
}
