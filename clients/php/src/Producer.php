<?php

declare(strict_types=1);

namespace Airlay\Events;

/**
 * Publishes events through the Airlay event service, over its events socket.
 *
 *     $producer = new Producer();
 *     $producer->publish('issueUpdate', '610217e481f6fc54736209e0', [['state' => 'closed']]);
 *
 * A call takes at most `$timeout` seconds, whatever the server does.
 */
final class Producer
{
    /** Microseconds between attempts to connect. */
    private const RETRY_PAUSE = 50_000;

    /** Bytes given to one write: the kernel takes what fits, but PHP copies all of them. */
    private const PIECE = 65_536;

    /** @var resource|null */
    private $socket = null;
    /** The process that opened the connection; after a fork, the parent. */
    private int $process = 0;
    /** Lines written on this connection. */
    private int $lines = 0;
    private string $received = '';
    private bool $isDown = false;
    private \Closure $onRefused;

    /**
     * The connection is opened on first use, and reopened after the server was away.
     *
     * @param string $path the events socket
     * @param float $timeout the seconds a call may take, including connecting and confirmation. If there is no server, the
     *     first call waits that long for one; further calls fail at once until there is one again
     * @param callable(Refused): void|null $onRefused called for each event that was published without `ack` and that the
     *     server refused; a refusal is noticed during a later call. If not given, refusals are written to error_log()
     */
    public function __construct(
        private readonly string $path = '/run/airlay/events.sock',
        private readonly float $timeout = 1.0,
        ?callable $onRefused = null,
    ) {
        $this->onRefused = ($onRefused ?? static function (Refused $refused): void {
            error_log("airlay/events: event refused: {$refused->getMessage()} (line {$refused->lineNumber})");
        })(...);
    }

    /** Reports pending refusals, as close() does. */
    public function __destruct()
    {
        $this->close();
    }

    /**
     * Publishes one event; see `Event`.
     *
     * Without `ack`, an event that the server had not read when it crashed is lost. With `ack`, an event that it had read
     * but not confirmed is sent again and may arrive twice.
     *
     * @param list<string>|string|null $users
     * @return int|null with `ack`, which waits until the server has the event: the number of subscribers
     * @throws Unavailable|TimedOut|Refused Refused only with `ack`
     * @throws \JsonException if the data cannot be encoded as JSON
     */
    public function publish(
        string $type,
        ?string $id = null,
        mixed $data = [],
        array|string|null $users = null,
        bool $ack = false,
    ): ?int {
        return $this->publishBatch([new Event($type, $id, $data, $users)], $ack)[0] ?? null;
    }

    /**
     * Publishes events in order, within one `$timeout`.
     *
     * @param iterable<Event> $events
     * @return list<int>|null with `ack`: the number of subscribers of each event
     * @throws Unavailable|TimedOut|Refused Refused only with `ack`, after all events were sent
     * @throws \JsonException if any data cannot be encoded as JSON; then nothing is sent
     */
    public function publishBatch(iterable $events, bool $ack = false): ?array
    {
        $lines = [];
        foreach ($events as $event) {
            $lines[] = new Line($event, $event->members());
        }
        $this->send($lines, $ack);
        return $ack ? array_map(static fn (Line $line) => $line->result, $lines) : null;
    }

    /**
     * Revokes a user's subscriptions: all, or those to this type and id.
     *
     * @return int|null with `ack`: how many ended
     * @throws Unavailable|TimedOut|Refused Refused only with `ack`
     */
    public function revoke(string $user, ?string $type = null, ?string $id = null, bool $ack = false): ?int
    {
        $control = ['control' => 'revoke', 'user' => $user];
        if ($type !== null) {
            $control['event'] = ['type' => $type, 'id' => $id ?? ''];
        }
        $line = new Line($control, $control);
        $this->send([$line], $ack);
        return $ack ? $line->result : null;
    }

    /** Reports pending refusals and closes the connection. The next call opens a new one. */
    public function close(): void
    {
        if ($this->isConnected()) {
            $refused = [];
            try {
                $unanswered = [];
                $this->read($unanswered, $refused);
            } catch (Disconnected) {
                // Everything received has been read.
            }
            $this->disconnect();
            $this->report($refused);
        }
    }

    /** @param list<Line> $lines */
    private function send(array $lines, bool $ack): void
    {
        $deadline = self::now() + $this->timeout;
        $isUndone = static fn (Line $line): bool => !$line->isDone;
        $refused = [];
        try {
            while (($undone = array_values(array_filter($lines, $isUndone))) !== []) {
                try {
                    $this->connect();
                    $this->transfer($undone, $ack, $deadline, $refused);
                } catch (Disconnected $gone) {
                    $this->disconnect();
                    $this->wait($gone, $deadline);
                }
            }
        } catch (EventsException $exception) {
            $sources = array_map(static fn (Line $line) => $line->source, array_filter($lines, $isUndone));
            $exception->unsent = array_values($sources);
            throw $exception;
        } finally {
            $this->report($refused);
        }
        foreach ($lines as $line) {
            if ($line->result instanceof Refused) {
                $line->result->results = array_map(static fn (Line $each) => $each->result, $lines);
                throw $line->result;
            }
        }
    }

    private function wait(Disconnected $gone, float $deadline): void
    {
        $left = $deadline - self::now();
        if ($this->isDown || $left <= 0) {
            $this->isDown = true;
            throw new Unavailable("no server at {$this->path}: {$gone->getMessage()}");
        }
        usleep((int) min($left * 1e6, self::RETRY_PAUSE));
    }

    private function isConnected(): bool
    {
        return $this->socket !== null && $this->process === getmypid();
    }

    /** Connects unless this process already has: lines of two processes on one connection would mix. */
    private function connect(): void
    {
        if ($this->isConnected()) {
            return;
        }
        $this->disconnect();
        // A Unix-domain socket connects, or fails, without waiting.
        $socket = @stream_socket_client("unix://{$this->path}", $number, $message);
        if ($socket === false) {
            // ENOENT, EAGAIN (too many connections wait to be accepted), ECONNREFUSED: the server may come up.
            if (in_array($number, [2, 11, 111], true)) {
                throw new Disconnected($message);
            }
            throw new Unavailable("{$this->path} cannot be written to: {$message}");
        }
        stream_set_blocking($socket, false);
        stream_set_write_buffer($socket, 0);
        [$this->socket, $this->process] = [$socket, getmypid()];
        [$this->lines, $this->received] = [0, ''];
        $this->isDown = false;
    }

    private function disconnect(): void
    {
        if ($this->socket !== null) {
            fclose($this->socket);
        }
        $this->socket = null;
    }

    /**
     * Writes lines and, with `ack`, reads their answers. It reads while it writes: a server whose answers are not read
     * stops reading.
     *
     * @param list<Line> $lines
     * @param list<Refused> $refused
     */
    private function transfer(array $lines, bool $ack, float $deadline, array &$refused): void
    {
        $text = '';
        $ends = [];
        $unanswered = [];
        foreach ($lines as $index => $line) {
            $number = $this->lines + 1 + $index;
            $text .= $line->encode($ack ? $number : null);
            $ends[] = strlen($text);
            if ($ack) {
                $unanswered[$number] = $line;
            }
        }
        $written = $whole = 0;
        while ($written < strlen($text) || $unanswered !== []) {
            $isWriting = $written < strlen($text);
            $readable = [$this->socket];
            $writable = $isWriting ? [$this->socket] : [];
            $none = [];
            $time = (int) ceil(max($deadline - self::now(), 0) * 1e6);
            // A signal may interrupt the wait, which then returns false.
            $ready = @stream_select($readable, $writable, $none, intdiv($time, 1_000_000), $time % 1_000_000);
            if ($ready === 0 || ($ready === false && $time === 0)) {
                if ($isWriting) {
                    // A line may be cut here; nothing may follow it on this connection.
                    $this->disconnect();
                }
                throw new TimedOut($isWriting ? 'the server does not read' : 'the server does not confirm');
            }
            if ($ready === false) {
                continue;
            }
            if ($readable !== []) {
                $this->read($unanswered, $refused);
            }
            if ($writable !== []) {
                $count = @fwrite($this->socket, substr($text, $written, self::PIECE));
                if ($count === false) {
                    throw new Disconnected(error_get_last()['message'] ?? 'the server has closed the connection');
                }
                $written += $count;
                // A line that lacks only its line feed counts as written: at the end of the stream it is a line.
                for (; $whole < count($ends) && $ends[$whole] - 1 <= $written; $whole++) {
                    $this->lines++;
                    $lines[$whole]->isDone = $lines[$whole]->isDone || !$ack;
                }
            }
        }
    }

    /**
     * Reads answers. One without an entry in `$unanswered` belongs to an event without `ack`.
     *
     * @param array<int, Line> $unanswered
     * @param list<Refused> $refused
     */
    private function read(array &$unanswered, array &$refused): void
    {
        while (($received = @fread($this->socket, 65_536)) !== '' && $received !== false) {
            $answers = explode("\n", $this->received . $received);
            $this->received = array_pop($answers);
            foreach ($answers as $answer) {
                $answer = json_decode($answer, true, 512, JSON_THROW_ON_ERROR);
                $number = $answer['line'] ?? $answer['ack'];
                $error = $answer['code'] === 0 ? null : new Refused($answer['message'], $number);
                if (isset($unanswered[$number])) {
                    $unanswered[$number]->result = $error ?? $answer['subscribers'];
                    $unanswered[$number]->isDone = true;
                    unset($unanswered[$number]);
                } elseif ($error !== null) {
                    $refused[] = $error;
                }
            }
        }
        if (feof($this->socket)) {
            throw new Disconnected('the server has closed the connection');
        }
    }

    /** @param list<Refused> $refused */
    private function report(array $refused): void
    {
        foreach ($refused as $each) {
            ($this->onRefused)($each);
        }
    }

    /** Seconds of a monotonic clock. */
    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}

/** An event to publish. */
final class Event
{
    /**
     * @param string $type what happened, such as issueUpdate
     * @param string|null $id the event's object: 24 hex digits. Optional only for a notification
     * @param mixed $data anything that json_encode() accepts
     * @param list<string>|string|null $users the users a notification is for: user ids, or "*" for everyone. If not
     *     given, the user with the id `$id`
     */
    public function __construct(
        public readonly string $type,
        public readonly ?string $id = null,
        public readonly mixed $data = [],
        public readonly array|string|null $users = null,
    ) {
    }

    /**
     * @internal
     * @return array<string, mixed>
     */
    public function members(): array
    {
        $members = ['type' => $this->type, 'data' => $this->data];
        if ($this->id !== null) {
            $members['id'] = $this->id;
        }
        if ($this->users !== null) {
            $members['users'] = is_array($this->users) ? array_values($this->users) : $this->users;
        }
        return $members;
    }
}

/** An event was not published, or may not have been. */
abstract class EventsException extends \RuntimeException
{
    /** @var list<Event|array<string, mixed>> what was not written or, with `ack`, not confirmed, for a retry */
    public array $unsent = [];
}

/** There is no server at the socket, or no permission to write to it. */
final class Unavailable extends EventsException
{
}

/** The server did not read the event, or did not confirm it, in time. */
final class TimedOut extends EventsException
{
}

/** The server rejected the event, with the reason as message; a retry would fail too. */
final class Refused extends EventsException
{
    /** @var list<int|Refused> for each event of the batch: the number of its subscribers, or why it was refused */
    public array $results = [];

    /** @param int $lineNumber the event's line number on its connection, counted from 1 */
    public function __construct(string $message, public readonly int $lineNumber)
    {
        parent::__construct($message);
    }
}

/**
 * The server is gone, or not up yet.
 *
 * @internal
 */
final class Disconnected extends \RuntimeException
{
}

/**
 * A line to write, and its result.
 *
 * @internal
 */
final class Line
{
    public bool $isDone = false;
    public int|Refused|null $result = null;
    private readonly string $text;

    /** @param array<string, mixed> $members */
    public function __construct(public readonly Event|array $source, array $members)
    {
        $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION;
        $this->text = json_encode($members, $flags);
    }

    public function encode(?int $ack): string
    {
        return $ack === null ? "{$this->text}\n" : substr($this->text, 0, -1) . ",\"ack\":{$ack}}\n";
    }
}
