//! As much of an X11 client as a user needs: find a window, look at it, ask it to close, drop files onto it.
//! Written out, because nothing that is installed everywhere does all of it, and the protocol's few requests are short.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A window's id.
pub type Window = u32;
type Atom = u32;

const CLIENT_MESSAGE: u8 = 33;
const SELECTION_REQUEST: u8 = 30;
const SELECTION_NOTIFY: u8 = 31;
const ANY_TYPE: Atom = 0;
/// XDND as of version 5, which every toolkit speaks.
const XDND: u32 = 5;

/// A connection.
pub struct Display {
    stream: UnixStream,
    root: Window,
    id_base: u32,
    ids: u32,
    events: VecDeque<Vec<u8>>,
}

/// Numbers of a request or an event, little-endian and without gaps.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32s(self, values: &[u32]) -> Self {
        values.iter().fold(self, |bytes, value| bytes.u32(*value))
    }

    fn padded(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Display {
    /// Connects to a server on this machine that wants no authority.
    pub fn connect(number: u32) -> Self {
        let mut stream = UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let hello = Bytes::default().u8(b'l').u8(0).u16(11).u16(0);
        stream.write_all(&hello.u16(0).u16(0).u16(0).0).unwrap();
        let mut head = [0; 8];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 1, "the server refuses us");
        let mut setup = vec![0; usize::from(u16_at(&head, 6)) * 4];
        stream.read_exact(&mut setup).unwrap();
        let (vendor, formats) = (usize::from(u16_at(&setup, 16)), usize::from(setup[21]));
        let screen = 32 + vendor.next_multiple_of(4) + formats * 8;
        Self {
            root: u32_at(&setup, screen),
            id_base: u32_at(&setup, 4),
            ids: 0,
            events: VecDeque::new(),
            stream,
        }
    }

    /// Sends a request; `data` is what its second byte says.
    fn send(&mut self, opcode: u8, data: u8, body: Bytes) {
        let words = u16::try_from(1 + body.0.len() / 4).unwrap();
        let request = Bytes::default().u8(opcode).u8(data).u16(words);
        let request = [request.0, body.0].concat();
        self.stream.write_all(&request).unwrap();
    }

    /// A reply, an event or an error, as it comes.
    fn read(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 32];
        self.stream.read_exact(&mut packet).unwrap();
        if packet[0] == 1 {
            let more = u32_at(&packet, 4) as usize * 4;
            packet.resize(32 + more, 0);
            self.stream.read_exact(&mut packet[32..]).unwrap();
        }
        packet
    }

    /// The answer to a request; none if it failed, as one about a window that is gone.
    fn ask(&mut self, opcode: u8, data: u8, body: Bytes) -> Option<Vec<u8>> {
        self.send(opcode, data, body);
        loop {
            let packet = self.read();
            match packet[0] {
                0 => return None,
                1 => return Some(packet),
                _ => self.events.push_back(packet),
            }
        }
    }

    /// The next event, without the bit that says that a client sent it.
    fn event(&mut self) -> Vec<u8> {
        let mut event = self.events.pop_front().unwrap_or_else(|| self.read());
        event[0] &= 0x7f;
        event
    }

    fn atom(&mut self, name: &str) -> Atom {
        let len = u16::try_from(name.len()).unwrap();
        let body = Bytes::default().u16(len).u16(0).padded(name.as_bytes());
        u32_at(&self.ask(16, 0, body).unwrap(), 8)
    }

    fn property(&mut self, window: Window, name: &str) -> Vec<u8> {
        let name = self.atom(name);
        let body = Bytes::default().u32s(&[window, name, ANY_TYPE, 0, 1 << 16]);
        let Some(reply) = self.ask(20, 0, body) else {
            return Vec::new();
        };
        let len = u32_at(&reply, 16) as usize * usize::from(reply[1]) / 8;
        reply[32..32 + len].to_vec()
    }

    /// A window that has this title.
    pub fn find(&mut self, title: &str) -> Option<Window> {
        let root = self.root;
        let mut windows = vec![root];
        while let Some(window) = windows.pop() {
            if window != root && self.property(window, "_NET_WM_NAME") == title.as_bytes() {
                return Some(window);
            }
            if let Some(reply) = self.ask(15, 0, Bytes::default().u32(window)) {
                let n = usize::from(u16_at(&reply, 16));
                windows.extend((0..n).map(|i| u32_at(&reply, 32 + 4 * i)));
            }
        }
        None
    }

    /// Its width, height and pixels, four bytes each; none while it is not on screen.
    pub fn picture(&mut self, window: Window) -> Option<(usize, usize, Vec<u8>)> {
        let reply = self.ask(14, 0, Bytes::default().u32(window))?;
        let (width, height) = (u16_at(&reply, 16), u16_at(&reply, 18));
        let body = Bytes::default().u32(window).u16(0).u16(0);
        let body = body.u16(width).u16(height).u32(u32::MAX);
        let reply = self.ask(73, 2, body)?;
        let pixels = reply[32..].to_vec();
        Some((usize::from(width), usize::from(height), pixels))
    }

    /// Sends a client message to `window`, about itself.
    fn tell(&mut self, window: Window, kind: &str, data: [u32; 5]) {
        let kind = self.atom(kind);
        let event = Bytes::default().u8(CLIENT_MESSAGE).u8(32).u16(0);
        let event = event.u32s(&[window, kind]).u32s(&data);
        self.send_event(window, event);
    }

    fn send_event(&mut self, window: Window, event: Bytes) {
        let mut body = Bytes::default().u32s(&[window, 0]);
        body.0.extend(event.0);
        body.0.resize(8 + 32, 0);
        self.send(25, 0, body);
    }

    /// What a window manager does when its cross is clicked.
    pub fn close(&mut self, window: Window) {
        let delete = self.atom("WM_DELETE_WINDOW");
        let offered = self.property(window, "WM_PROTOCOLS");
        assert!(
            offered
                .chunks_exact(4)
                .any(|atom| u32_at(atom, 0) == delete)
        );
        self.tell(window, "WM_PROTOCOLS", [delete, 0, 0, 0, 0]);
    }

    /// Drags `uris` (a list as in text/uri-list) over `window` and lets go, or leaves again. Whether they were accepted.
    pub fn drag(&mut self, window: Window, uris: &str, drop: bool) -> bool {
        assert_eq!(
            u32_at(&self.property(window, "XdndAware"), 0),
            XDND,
            "the window says that it takes drops"
        );
        let source = self.own_window();
        let (selection, uri_list) = (self.atom("XdndSelection"), self.atom("text/uri-list"));
        let (status, finished) = (self.atom("XdndStatus"), self.atom("XdndFinished"));
        let copy = self.atom("XdndActionCopy");
        self.send(22, 0, Bytes::default().u32s(&[source, selection, 0]));
        let enter = [source, XDND << 24, uri_list, 0, 0];
        self.tell(window, "XdndEnter", enter);
        let middle = 300 << 16 | 300;
        self.tell(window, "XdndPosition", [source, 0, middle, 0, copy]);

        // The target asks for the list before the drop, to show what hovers.
        let (mut accepted, mut is_asked) = (None, false);
        while accepted.is_none() || (accepted == Some(true) && !is_asked) {
            let event = self.event();
            if event[0] == CLIENT_MESSAGE && u32_at(&event, 8) == status {
                accepted = Some(u32_at(&event, 16) & 1 == 1);
            } else if event[0] == SELECTION_REQUEST {
                assert_eq!(u32_at(&event, 20), uri_list);
                self.answer(&event, uris.as_bytes());
                is_asked = true;
            }
        }
        if !drop {
            self.tell(window, "XdndLeave", [source, 0, 0, 0, 0]);
            return false;
        }
        self.tell(window, "XdndDrop", [source, 0, 0, 0, 0]);
        loop {
            let event = self.event();
            if event[0] == CLIENT_MESSAGE && u32_at(&event, 8) == finished {
                return u32_at(&event, 16) & 1 == 1;
            }
        }
    }

    /// A window of our own, never shown.
    fn own_window(&mut self) -> Window {
        self.ids += 1;
        let id = self.id_base + self.ids;
        let body = Bytes::default().u32s(&[id, self.root]).u16(0).u16(0);
        let body = body.u16(1).u16(1).u16(0).u16(0).u32(0).u32(0);
        self.send(1, 0, body);
        id
    }

    /// Gives the selection to who asks for it.
    fn answer(&mut self, request: &[u8], data: &[u8]) {
        let [time, requestor, selection, target, property] =
            [4, 12, 16, 20, 24].map(|at| u32_at(request, at));
        let body = Bytes::default().u32s(&[requestor, property, target]);
        let body = body.u32(8).u32(u32::try_from(data.len()).unwrap());
        self.send(18, 0, body.padded(data));
        let event = Bytes::default().u8(SELECTION_NOTIFY).u8(0).u16(0);
        let event = event.u32s(&[time, requestor, selection, target, property]);
        self.send_event(requestor, event);
    }
}
