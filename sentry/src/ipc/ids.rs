//! The ids of one kind of IPC object.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Indexes of the id space; the rest of an id counts reuses (IPCMNI).
const INDEXES: i32 = 32768;

/// Objects by id. An id is an index of the table and, above it, a number that tells those apart that had the index one after
/// the other.
pub struct Ids<T> {
    /// By index: the whole id, and what has it.
    objects: BTreeMap<i32, (i32, Arc<T>)>,
    /// Counts up with every object made.
    sequence: i32,
    /// Objects at most.
    max: usize,
}

/// The part of an id that `struct ipc_perm` shows.
pub fn sequence_of(id: i32) -> u16 {
    u16::try_from(id / INDEXES).unwrap_or(0)
}

impl<T> Ids<T> {
    /// A table for up to `max` objects.
    pub const fn new(max: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            sequence: 0,
            max,
        }
    }

    /// The object with this id.
    pub fn get(&self, id: i32) -> Option<Arc<T>> {
        let (whole, object) = self.objects.get(&(id % INDEXES))?;
        (*whole == id).then(|| Arc::clone(object))
    }

    /// The object at an index, with its id.
    pub fn at(&self, index: i32) -> Option<(i32, Arc<T>)> {
        self.objects.get(&index).cloned()
    }

    /// The id that the next object will have: the lowest free index with the next number. `None` if there are `max` objects.
    pub fn next_id(&mut self) -> Option<i32> {
        if self.objects.len() >= self.max {
            return None;
        }
        let mut index = 0;
        for used in self.objects.keys() {
            if *used != index {
                break;
            }
            index += 1;
        }
        if index >= INDEXES {
            return None;
        }
        self.sequence = (self.sequence + 1) % (i32::MAX / INDEXES);
        Some(self.sequence * INDEXES + index)
    }

    /// Adds an object with the id that [`Ids::next_id`] gave.
    pub fn insert(&mut self, id: i32, object: Arc<T>) {
        self.objects.insert(id % INDEXES, (id, object));
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<Arc<T>> {
        self.get(id)?;
        self.objects
            .remove(&(id % INDEXES))
            .map(|(_, object)| object)
    }

    /// All objects, by index, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Arc<T>)> {
        self.objects.values().map(|(id, object)| (*id, object))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The highest index in use; 0 if there is none.
    pub fn highest_index(&self) -> i32 {
        self.objects.last_key_value().map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_reused_with_another_id() {
        let mut ids = Ids::new(3);
        let add = |ids: &mut Ids<u8>| {
            let id = ids.next_id().unwrap();
            ids.insert(id, Arc::new(0));
            id
        };
        let (a, b, c) = (add(&mut ids), add(&mut ids), add(&mut ids));
        assert_eq!((ids.len(), ids.highest_index()), (3, 2));
        assert_eq!(ids.next_id(), None);
        assert!(ids.remove(b).is_some());
        assert!(ids.remove(b).is_none());
        let again = add(&mut ids);
        assert_eq!(again % INDEXES, b % INDEXES);
        assert_ne!(again, b);
        assert!(ids.get(b).is_none() && ids.get(again).is_some());
        assert_eq!(
            ids.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            [a, again, c]
        );
        assert_eq!(ids.at(1).map(|(id, _)| id), Some(again));
        assert!(ids.get(-1).is_none() && ids.at(-1).is_none());
    }
}
