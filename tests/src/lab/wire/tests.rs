use super::*;

fn every_frame() -> Vec<Frame> {
    let job = Job {
        argv: vec!["sh".into(), "-c".into(), "echo \"quoted\"\nüñí".into()],
        env: vec![("A".into(), "b=c".into())],
        as_user: true,
        terminal: Some(WindowSize {
            rows: 25,
            columns: 80,
        }),
        heartbeat: true,
    };
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    vec![
        Frame::Ready,
        Frame::Start(job),
        Frame::Stdin(all_bytes.clone()),
        Frame::StdinEnd,
        Frame::Resize(WindowSize {
            rows: 300,
            columns: 4000,
        }),
        Frame::Signal(15),
        Frame::Stdout(all_bytes.clone()),
        Frame::Stderr(Vec::new()),
        Frame::Exit(-1),
        Frame::Exit(143),
        Frame::Alive,
    ]
}

#[test]
fn frames_come_back_whole_however_the_stream_is_cut() {
    let stream: Vec<u8> = every_frame().iter().flat_map(Frame::encode).collect();
    for piece_len in [1, 2, 3, 7, 100, stream.len()] {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for piece in stream.chunks(piece_len) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, every_frame(), "pieces of {piece_len} bytes");
    }
}

#[test]
fn blocking_reads_give_the_same_frames() {
    let stream: Vec<u8> = every_frame().iter().flat_map(Frame::encode).collect();
    let mut rest = &stream[..];
    for frame in every_frame() {
        assert_eq!(Frame::read(&mut rest).unwrap(), frame);
    }
    assert!(matches!(Frame::read(&mut rest), Err(WireError::Io(_))));
}

#[test]
fn a_stream_out_of_step_is_refused() {
    let refuse = |bytes: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder.next_frame().unwrap_err()
    };
    assert!(matches!(refuse(&[0, 0, 0, 0, 0]), WireError::Kind(0)));
    assert!(matches!(refuse(&[11, 0, 0, 0, 0]), WireError::Kind(11)));
    assert!(matches!(
        refuse(&[7, 0, 0, 0, 0xff]),
        WireError::TooLong(0xff00_0000)
    ));
    assert!(matches!(refuse(&[5, 1, 0, 0, 0, 1]), WireError::Payload(5)));
    assert!(matches!(refuse(&[9, 0, 0, 0, 0]), WireError::Payload(9)));
    assert!(matches!(
        refuse(&[2, 1, 0, 0, 0, b'{']),
        WireError::Payload(2)
    ));
}
