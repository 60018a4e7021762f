//! Checks and sockets among writers who commit in no order.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::support::Dice;

/// Steps of one storm.
const STEPS: usize = 400;

/// What a device has shown its person.
#[derive(Default)]
struct Shown {
    contents: Vec<String>,
    time: Option<String>,
    /// What the present socket has brought, by id.
    brought: Vec<String>,
}

/// Any order of sends, commits, rollbacks, checks, retries and sockets, and at the end everything once.
#[tokio::test]
async fn nothing_is_lost_and_nothing_comes_twice() {
    for major in majors() {
        for seed in 1..=4 {
            storm(major, seed).await;
        }
    }
}

async fn storm(major: u32, seed: u64) {
    let school = School::open(major).await;
    let mut dice = Dice(seed);
    let mut threads = school.threads.to_vec();
    for title in ["a", "b", "c", "d"] {
        threads.push(school.bob.thread(&[ANN], title).await);
    }
    let mut writers = Vec::new();
    for number in 0..threads.len() {
        writers.push((
            Device::of(&school.database, BOB, 100 + u8::try_from(number).unwrap()).await,
            false,
            Vec::new(),
        ));
    }
    let (mut committed, mut number) = (HashSet::new(), 0);
    let mut phone = Shown::default();
    let mut ids = HashMap::new();
    for _ in 0..STEPS {
        match dice.roll(10) {
            0..=4 => {
                // Each writes to a thread of its own, in transactions of any length.
                let index = usize::try_from(dice.roll(writers.len() as u64)).unwrap();
                let (writer, is_open, pending) = &mut writers[index];
                if !*is_open {
                    writer.client.batch_execute("begin").await.unwrap();
                    *is_open = true;
                }
                number += 1;
                let content = format!("{index} {number}");
                ids.insert(content.clone(), writer.send(&threads[index], &content).await);
                pending.push(content);
            }
            5..=6 => {
                let index = usize::try_from(dice.roll(writers.len() as u64)).unwrap();
                end(&mut writers[index], dice.roll(5) == 0, &mut committed).await;
            }
            7 => check(&school.ann, &mut phone, dice.roll(3) == 0).await,
            8 => bring(&school.ann, &mut phone, dice.roll(3), &ids).await,
            _ => close(&school.ann, &mut phone).await,
        }
    }
    for writer in &mut writers {
        end(writer, false, &mut committed).await;
    }
    close(&school.ann, &mut phone).await;
    check(&school.ann, &mut phone, false).await;
    let shown: HashSet<_> = phone.contents.iter().cloned().collect();
    assert_eq!(shown.len(), phone.contents.len(), "seed {seed} on {major}: something twice");
    assert_eq!(shown, committed, "seed {seed} on {major}");
    // In each thread in the order of sending.
    for index in 0..threads.len() {
        let of = |content: &&String| content.split(' ').next() == Some(&index.to_string());
        let numbers: Vec<u32> = phone
            .contents
            .iter()
            .filter(of)
            .map(|text| text.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "seed {seed} on {major}, thread {index}: {numbers:?}");
    }
}

async fn end(
    (writer, is_open, pending): &mut (Device, bool, Vec<String>),
    is_given_up: bool,
    committed: &mut HashSet<String>,
) {
    if !std::mem::take(is_open) {
        return;
    }
    let pending = std::mem::take(pending);
    writer.client.batch_execute(if is_given_up { "rollback" } else { "commit" }).await.unwrap();
    if !is_given_up {
        committed.extend(pending);
    }
}

/// The app starts: a socket that is open ends before, and an answer may get lost on its way.
async fn check(device: &Device, shown: &mut Shown, is_lost: bool) {
    close(device, shown).await;
    let since = shown.time.clone().unwrap_or_else(|| EVER.to_owned());
    if is_lost {
        device.try_check(&since, 3).await.unwrap();
    }
    loop {
        let since = shown.time.clone().unwrap_or_else(|| EVER.to_owned());
        let page = device.try_check(&since, 3).await.unwrap();
        shown.contents.extend(page.contents);
        shown.time = Some(page.time);
        if page.remaining == 0 {
            break;
        }
    }
}

/// A socket brings the first of what was missed, and is cut off.
async fn bring(device: &Device, shown: &mut Shown, count: u64, ids: &HashMap<String, String>) {
    if shown.time.is_none() {
        return;
    }
    close(device, shown).await;
    let missed = device.resume().await.unwrap();
    for content in missed.into_iter().take(usize::try_from(count).unwrap()) {
        shown.brought.push(ids[&content].clone());
        shown.contents.push(content);
    }
}

async fn close(device: &Device, shown: &mut Shown) {
    if let Some(time) = &shown.time {
        let brought: Vec<&str> = shown.brought.iter().map(String::as_str).collect();
        assert!(device.note(time, &brought).await);
    }
    shown.brought.clear();
}
