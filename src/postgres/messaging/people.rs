//! Who is connected to this server.
//!
//! In: a seat for each device of a person, taken when it connects and dropped when it goes, and a word when it does
//! something. Out, to [`super::presence`]: everybody who is here and since when they have done nothing, and at once
//! those who have come, who have left with their last device, or who are active again after having been idle.
//!
//! A server has one [`People`], which every thread shares. Coming and going takes a lock for a moment; to be active is
//! one load of an atomic, but for the first time after each look.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Person;
use crate::telemetry::number::Number;

/// How many people are known at a time; their devices do not count. Who comes beyond that is served like anybody, but
/// has no presence, and is counted.
pub const PEOPLE_MAX: usize = 250_000;

/// What a person's devices have done since they were looked at.
const QUIET: u8 = 0;
const ACTIVE: u8 = 1;
/// Nothing for so long that they are away; to be active again is news.
const IDLE: u8 = 2;

/// Everybody who is connected. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct People(Arc<Registry>);

struct Registry {
    people_max: usize,
    room: Mutex<Room>,
    /// Wakes who waits for news.
    news: Notify,
    /// Those who found no room.
    refused: Number,
}

#[derive(Default)]
struct Room {
    people: HashMap<Person, Place>,
    /// Whom to look at at once; each is here once, and has a place.
    news: VecDeque<Person>,
}

/// What is known of one person.
struct Place {
    /// Devices; none for those who have just left.
    seats: usize,
    activity: Arc<AtomicU8>,
    /// Since when they have done nothing, as far as is known; `None` before anybody has looked.
    active_at: Option<Instant>,
    /// When somebody looked last.
    looked_at: Option<Instant>,
    /// Whether they stand among the news.
    is_news: bool,
}

/// One device of a person. Dropped when it goes.
#[must_use = "a seat that is dropped has left"]
pub struct Seat {
    people: People,
    person: Person,
    /// `None` if there was no room.
    activity: Option<Arc<AtomicU8>>,
}

/// Somebody who is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub person: Person,
    /// How long they have done nothing.
    pub idle: Duration,
}

/// What has happened since the last news.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Those who have come, or are active again.
    pub present: Vec<Present>,
    /// Those whose last device has gone.
    pub left: Vec<Person>,
}

impl People {
    /// Nobody yet, and room for so many.
    pub fn new(people_max: usize) -> Self {
        Self(Arc::new(Registry {
            people_max,
            room: Mutex::default(),
            news: Notify::new(),
            refused: Number::new(),
        }))
    }

    /// A device of this person has connected.
    pub fn enter(&self, person: Person) -> Seat {
        let activity = self.0.room().enter(person, self.0.people_max);
        match activity {
            Some(_) => self.0.news.notify_one(),
            None => self.0.refused.add(1),
        }
        Seat { people: self.clone(), person, activity }
    }

    /// How many people are connected.
    pub fn count(&self) -> usize {
        self.0.room().people.values().filter(|place| place.seats > 0).count()
    }

    /// How often there was no room for a person.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Waits until there may be news.
    pub async fn changed(&self) {
        self.0.news.notified().await;
    }

    /// At most `max` news, the oldest first. Whoever left is forgotten with that.
    pub fn take_news(&self, max: usize, now: Instant) -> News {
        let mut room = self.0.room();
        let mut news = News::default();
        for _ in 0..max {
            let Some(person) = room.news.pop_front() else { break };
            let Some(place) = room.people.get_mut(&person) else { continue };
            place.is_news = false;
            if place.seats > 0 {
                news.present.push(Present { person, idle: place.look(now, Duration::MAX, true) });
            } else {
                room.people.remove(&person);
                news.left.push(person);
            }
        }
        if !room.news.is_empty() {
            self.0.news.notify_one();
        }
        news
    }

    /// Everybody who is here. From now on, those who have done nothing for `idle_after` are news once they do.
    pub fn present(&self, idle_after: Duration, now: Instant) -> Vec<Present> {
        let mut room = self.0.room();
        let here = room.people.iter_mut().filter(|(_, place)| place.seats > 0);
        here.map(|(person, place)| Present { person: *person, idle: place.look(now, idle_after, false) })
            .collect()
    }

    /// A device of this person is gone.
    fn leave(&self, person: Person) {
        if self.0.room().leave(person) {
            self.0.news.notify_one();
        }
    }

    /// This person is active again.
    fn wake(&self, person: Person) {
        if self.0.room().tell(person) {
            self.0.news.notify_one();
        }
    }
}

impl Default for People {
    fn default() -> Self {
        Self::new(PEOPLE_MAX)
    }
}

impl Registry {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn enter(&mut self, person: Person, people_max: usize) -> Option<Arc<AtomicU8>> {
        let is_full = self.people.len() >= people_max;
        if !self.people.contains_key(&person) && is_full {
            return None;
        }
        let place = self.people.entry(person).or_insert_with(Place::empty);
        place.seats += 1;
        // To connect is to do something.
        let before = place.activity.swap(ACTIVE, Ordering::Relaxed);
        let activity = Arc::clone(&place.activity);
        if place.seats == 1 || before == IDLE {
            self.tell(person);
        }
        Some(activity)
    }

    /// Whether it was the last device.
    fn leave(&mut self, person: Person) -> bool {
        let Some(place) = self.people.get_mut(&person) else { return false };
        place.seats = place.seats.saturating_sub(1);
        place.seats == 0 && self.tell(person)
    }

    /// Has this person be looked at at once. Whether that is new.
    fn tell(&mut self, person: Person) -> bool {
        let Some(place) = self.people.get_mut(&person) else { return false };
        let is_new = !std::mem::replace(&mut place.is_news, true);
        if is_new {
            self.news.push_back(person);
        }
        is_new
    }
}

impl Place {
    fn empty() -> Self {
        let activity = Arc::new(AtomicU8::new(QUIET));
        Self { seats: 0, activity, active_at: None, looked_at: None, is_news: false }
    }

    /// How long this person has done nothing, as of now.
    fn look(&mut self, now: Instant, idle_after: Duration, is_news: bool) -> Duration {
        let becomes =
            |from, to| self.activity.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        let looked_at = self.looked_at.replace(now);
        if becomes(ACTIVE, QUIET).is_ok() {
            // It was after the last look, and nothing more is known: whoever says that they are offline has not become
            // active by what they did before.
            self.active_at = if is_news { Some(now) } else { looked_at };
        }
        let idle = now.saturating_duration_since(*self.active_at.get_or_insert(now));
        if idle >= idle_after {
            // One that has become active meanwhile stays so.
            let _ = becomes(QUIET, IDLE);
        }
        idle
    }
}

impl Seat {
    /// Whose it is.
    pub fn person(&self) -> Person {
        self.person
    }

    /// The person has done something. Pings and heartbeats are nothing that a person does.
    pub fn active(&self) {
        let Some(activity) = &self.activity else { return };
        // Seldom written, so that the threads of one person's devices do not fight for it.
        if activity.load(Ordering::Relaxed) != ACTIVE && activity.swap(ACTIVE, Ordering::Relaxed) == IDLE {
            self.people.wake(self.person);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.activity.is_some() {
            self.people.leave(self.person);
        }
    }
}

/// Says how many, never who.
impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// Never says who.
impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const IDLE_AFTER: Duration = Duration::from_secs(300);

    fn person(number: u128) -> Person {
        Person::User(Uuid::from_u128(number))
    }

    fn came(person: Person) -> News {
        News { present: vec![Present { person, idle: Duration::ZERO }], left: vec![] }
    }

    fn left(person: Person) -> News {
        News { present: vec![], left: vec![person] }
    }

    #[tokio::test]
    async fn several_devices_are_one_person() {
        let now = Instant::now();
        let people = People::default();
        let phone = people.enter(person(1));
        people.changed().await;
        assert_eq!(people.take_news(9, now), came(person(1)));
        let laptop = people.enter(person(1));
        assert_eq!(people.take_news(9, now), News::default(), "a second device is no news");
        assert_eq!((people.count(), people.present(IDLE_AFTER, now).len()), (1, 1));
        drop(phone);
        assert_eq!(people.take_news(9, now), News::default(), "the first to go leaves the second");
        drop(laptop);
        assert_eq!(people.take_news(9, now), left(person(1)));
        assert_eq!((people.count(), people.present(IDLE_AFTER, now).len()), (0, 0));
        assert_eq!(people.take_news(9, now), News::default());
    }

    #[test]
    fn who_comes_back_before_anybody_looked_has_not_left() {
        let now = Instant::now();
        let people = People::default();
        let first = people.enter(person(1));
        people.take_news(9, now);
        drop(first);
        let _second = people.enter(person(1));
        assert_eq!(people.take_news(9, now), came(person(1)));
        // The twin: who went before anybody looked was hardly there.
        drop(people.enter(person(2)));
        assert_eq!(people.take_news(9, now), left(person(2)));
    }

    #[test]
    fn a_user_and_a_customer_of_one_id_are_two_people() {
        let people = People::default();
        let id = Uuid::from_u128(1);
        let _seats = (people.enter(Person::User(id)), people.enter(Person::Customer(id)));
        assert_eq!(people.count(), 2);
    }

    #[test]
    fn time_without_activity_is_told() {
        let mut now = Instant::now();
        let people = People::default();
        let seat = people.enter(person(1));
        assert_eq!(people.present(IDLE_AFTER, now)[0].idle, Duration::ZERO);
        now += Duration::from_secs(5);
        assert_eq!(people.present(IDLE_AFTER, now)[0].idle, Duration::from_secs(5));
        seat.active();
        now += Duration::from_secs(5);
        assert_eq!(people.present(IDLE_AFTER, now)[0].idle, Duration::from_secs(5), "after the last look");
        now += Duration::from_secs(5);
        assert_eq!(people.present(IDLE_AFTER, now)[0].idle, Duration::from_secs(10));
    }

    #[test]
    fn activity_is_news_only_after_idleness() {
        let mut now = Instant::now();
        let people = People::default();
        let (phone, laptop) = (people.enter(person(1)), people.enter(person(1)));
        people.take_news(9, now);
        now += IDLE_AFTER.checked_sub(Duration::from_secs(1)).unwrap();
        people.present(IDLE_AFTER, now);
        phone.active();
        assert_eq!(people.take_news(9, now), News::default());
        people.present(IDLE_AFTER, now);
        now += IDLE_AFTER;
        people.present(IDLE_AFTER, now);
        laptop.active();
        laptop.active();
        phone.active();
        assert_eq!(people.take_news(9, now), came(person(1)));
        assert_eq!(people.take_news(9, now), News::default());
    }

    #[test]
    fn another_device_wakes_one_who_is_idle() {
        let mut now = Instant::now();
        let people = People::default();
        let _phone = people.enter(person(1));
        people.take_news(9, now);
        people.present(IDLE_AFTER, now);
        now += IDLE_AFTER;
        people.present(IDLE_AFTER, now);
        let _laptop = people.enter(person(1));
        assert_eq!(people.take_news(9, now), came(person(1)));
    }

    #[tokio::test]
    async fn news_come_in_portions_and_none_is_missed() {
        let now = Instant::now();
        let people = People::default();
        let _seats: Vec<Seat> = (0..5).map(|number| people.enter(person(number))).collect();
        let mut told = Vec::new();
        while told.len() < 5 {
            people.changed().await;
            let news = people.take_news(2, now);
            assert!(news.present.len() <= 2);
            told.extend(news.present.into_iter().map(|present| present.person));
        }
        assert_eq!(told, (0..5).map(person).collect::<Vec<_>>());
    }

    #[test]
    fn beyond_the_bound_people_are_counted_and_not_known() {
        let now = Instant::now();
        let people = People::new(1);
        let _first = people.enter(person(1));
        let second = people.enter(person(2));
        second.active();
        let _again = people.enter(person(1));
        assert_eq!((people.count(), people.refused()), (1, 1));
        drop(second);
        assert_eq!(people.take_news(9, now), came(person(1)));
    }

    #[test]
    fn nothing_printed_says_who() {
        let people = People::default();
        let seat = people.enter(person(0xabcdef));
        assert!(!format!("{people:?} {seat:?}").contains("abcdef"));
    }
}
