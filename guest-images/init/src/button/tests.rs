use std::io::{Seek, SeekFrom, Write};

use super::*;

fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(code.to_ne_bytes());
    bytes.extend(value.to_ne_bytes());
    bytes
}

#[test]
fn a_press_is_found_anywhere() {
    let other = event(0, 0, 0);
    let press = event(1, 116, 1);
    for events in [vec![&press], vec![&other, &press], vec![&press, &other]] {
        assert!(has_press(
            &events.into_iter().flatten().copied().collect::<Vec<_>>()
        ));
    }
}

#[test]
fn other_events_are_no_press() {
    let release = event(1, 116, 0);
    let repeat = event(1, 116, 2);
    let other_key = event(1, 115, 1);
    let other_kind = event(2, 116, 1);
    for events in [&release, &repeat, &other_key, &other_kind, &Vec::new()] {
        assert!(!has_press(events));
    }
    assert!(
        !has_press(&event(1, 116, 1)[..EVENT_BYTES - 1]),
        "half an event counts for nothing"
    );
}

#[test]
fn a_device_is_read_until_it_is_gone() {
    let path = std::env::temp_dir().join(format!("muster-button-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    fs::remove_file(path).unwrap();
    file.write_all(&event(1, 116, 1)).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    assert!(was_pressed(&file).unwrap());
    assert!(was_pressed(&file).is_err());
}
