//! Fan-out: from a producer's line to the last write, for few and many subscribers.

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::service::Service;

/// The sizes to measure; small ones under `cargo test`.
pub(crate) fn sizes() -> &'static [u32] {
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    if is_test { &[10, 1000] } else { &[100, 1000, 10_000, 100_000, 1_000_000] }
}

/// One event to all subscribers; and a removed key, which checks all subscriptions.
pub(crate) fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out");
    group.sample_size(10);
    let mut service = Service::new(100);
    let mut connected = 0;
    for &subscribers in sizes() {
        (connected..subscribers).for_each(|_| service.connect());
        connected = subscribers;
        group.throughput(Throughput::Elements(u64::from(subscribers)));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| assert_eq!(service.publish().writes, subscribers as usize));
        });
    }
    group.bench_function("removing a key", |bencher| {
        bencher.iter(|| assert_eq!(service.lose_key().writes, 0));
    });
}
