//! Random numbers nobody can foresee.

pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("every machine we run on has random numbers");
    u64::from_ne_bytes(bytes)
}
