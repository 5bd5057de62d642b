//! Whatever comes over the wire is read, or it is not; nothing else happens.

use plimsoll_nats::{
    Answer, Beat, Delivery, End, LeaseId, MOST_CAPACITY, Service, Topic, WorkerName, headers,
};
use proptest::prelude::*;

fn service() -> impl Strategy<Value = Service> {
    "[a-z%=_-]{1,8}(\\.[a-z%]{1,8}){0,3}".prop_map(|text| text.parse().unwrap())
}

fn worker() -> impl Strategy<Value = WorkerName> {
    "[a-z0-9_-]{1,64}"
        .prop_filter("it has another use", |text| text != "done")
        .prop_map(|text| text.parse().unwrap())
}

/// Tokens that are near to what is meant.
fn near() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("plimsoll".to_owned()),
        Just("resize".to_owned()),
        Just("done".to_owned()),
        Just("beat".to_owned()),
        Just("leave".to_owned()),
        Just("gone".to_owned()),
        Just("ends".to_owned()),
        Just("request".to_owned()),
        "[0-9]{0,22}(-[0-9]{0,22})?",
        "\\PC{0,6}",
    ];
    prop::collection::vec(token, 0..9).prop_map(|tokens| tokens.join("."))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        service in service(),
        worker in worker(),
        generation: u64,
        epoch: u64,
        number: u64,
        inbox in prop::option::of("[A-Za-z0-9_]{1,10}(\\.[A-Za-z0-9]{1,10}){0,3}"),
    ) {
        let lease = LeaseId { epoch, number };
        let inbox = inbox.as_deref();
        let subject = service.delivery(&worker, generation, epoch);
        let read = service.read_delivery(&subject).unwrap();
        prop_assert_eq!((read.generation, read.epoch), (generation, epoch));
        prop_assert_eq!(read.what, Delivery::Request);
        let done = service.done(&worker, lease, inbox);
        prop_assert_eq!(service.read_done(&worker, &done), Some((lease, inbox)));
        let name = worker.to_string();
        for (subject, topic) in [
            (done, Topic::Lease(lease)),
            (service.ends(&worker), Topic::Ends),
            (service.beat(&worker), Topic::Beat),
            (service.leave(&worker), Topic::Leave),
        ] {
                prop_assert_eq!(service.read_report(&subject), Some((name.as_str(), topic)));
        }
        let answer = service.answer(&worker, generation, epoch);
        prop_assert_eq!(service.read_delivery(&answer).unwrap().what, Delivery::Answer);
        let gone = service.gone(&worker, generation, epoch);
        prop_assert_eq!(service.read_delivery(&gone).unwrap().what, Delivery::Gone);
    }

    #[test]
    fn no_two_services_have_one_token(a in service(), b in service()) {
        if a != b {
            prop_assert_ne!(a.reports(), b.reports());
        }
    }

    #[test]
    fn anything_may_come(subject in near(), bytes: Vec<u8>) {
        let service: Service = "resize".parse().unwrap();
        // Read or not: a worker's name is looked at where it is used.
        let _ = service.read_report(&subject);
        let _ = service.read_delivery(&subject);
        let _ = service.read_done(&"resize".parse().unwrap(), &subject);
        let _ = End::read_lines(&bytes).count();
        let _ = subject.parse::<Service>();
        let _ = subject.parse::<WorkerName>();
        let _ = (Beat::read(&bytes), Answer::read(&bytes), End::read(&bytes));
    }

    #[test]
    fn beats_near_to_sound_ones_are_read_or_refused(
        numbers in prop::array::uniform5(prop_oneof![
            any::<u64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "\\PC{0,4}",
        ]),
        leases in "\\[(\\[\"[0-9]{1,3}-[0-9]{1,3}\",-?[0-9]{1,12}\\],?){0,3}\\]",
    ) {
        let [generation, number, epoch, seen, capacity] = numbers;
        let text = format!(
            "{{\"generation\":{generation},\"number\":{number},\"epoch\":{epoch},\
             \"seen\":{seen},\"capacity\":{capacity},\"leases\":{leases}}}"
        );
        if let Ok(beat) = Beat::read(text.as_bytes()) {
            prop_assert!(beat.capacity <= MOST_CAPACITY);
            prop_assert_eq!(Beat::read(&beat.text()), Ok(beat));
        }
    }

    #[test]
    fn any_text_is_an_error_on_one_line(code: u16, text in "\\PC{0,40}|[\\r\\n\\x00a-z]{0,10}") {
        let map = headers::error(code, &text);
        let (read, said) = headers::read_error(Some(&map)).unwrap();
        prop_assert_eq!(read, code);
        prop_assert!(!said.contains(['\r', '\n', '\0']));
    }
}

#[test]
fn the_longest_beat_is_below_a_servers_limit() {
    let nth = |nth: u64| LeaseId { epoch: u64::MAX, number: u64::MAX - nth };
    let beat = Beat {
        generation: u64::MAX,
        number: u64::MAX,
        epoch: u64::MAX,
        seen: u64::MAX,
        capacity: MOST_CAPACITY,
        weight: std::num::NonZeroU16::MAX,
        leases: (0..MOST_CAPACITY.into()).map(|n| (nth(n), 1.try_into().unwrap())).collect(),
    };
    assert!(beat.text().len() < 1 << 20);
    assert_eq!(Beat::read(&beat.text()), Ok(beat.clone()));
    assert!(Beat::read(&Beat { capacity: MOST_CAPACITY + 1, ..beat }.text()).is_err());
}
