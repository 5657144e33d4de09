<?php

/**
 * The producer against the real server, the program named by AIRLAY_CLI: killed, stopped, refusing; and against a scripted
 * server where timing matters. Run as `php tests/run.php [part of a test's name]`.
 */

declare(strict_types=1);

namespace Airlay\Events\Tests;

use Airlay\Events\{Event, Producer, Refused, TimedOut, Unavailable};

require __DIR__ . '/../src/Producer.php';
require __DIR__ . '/Server.php';
require __DIR__ . '/pauses.php';

const USER = '5dad615eae019570fb4647ed';
const ISSUE = '610217e481f6fc54736209e0';
/** Longer than any pause of a busy machine; tests of a time-out use a shorter one. */
const PATIENT = 30.0;
const IMPATIENT = 0.2;

$tests = [
    'an event reaches its subscriber as it was written' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $written = [[['state' => 'closed']], [], null, "текст \u{2028} / \n", 1.5, 1.0, true, ['a' => ['b' => []]]];
        $subscriber = $server->subscribe($producer);
        foreach ($written as $data) {
            same(null, $producer->publish('issueUpdate', ISSUE, $data));
        }
        foreach ($written as $data) {
            same($data, $subscriber->next()['data']);
        }
        $producer->publish('issueUpdate', ISSUE);
        same(['type' => 'issueUpdate', 'id' => ISSUE, 'data' => []], $subscriber->next());
        $producer->publish('issueUpdate', ISSUE, new \stdClass());
        same('{"type":"issueUpdate","id":"' . ISSUE . '","data":{}}', $subscriber->line());
    },

    'an ack says how many subscribers' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        same(0, $producer->publish('issueUpdate', ISSUE, ack: true));
        $subscriber = $server->subscribe($producer);
        same(1, $producer->publish('issueUpdate', ISSUE, ack: true));
        same([], $subscriber->next()['data']);
    },

    'notifications are for users, and what is revoked ends' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $subscriber = $server->subscribe($producer, 'notification', '');
        same(1, $producer->publish('notification', data: [1], users: [USER], ack: true));
        same(0, $producer->publish('notification', data: [2], users: [5 => ISSUE], ack: true));
        same(1, $producer->publish('notification', data: [3], users: '*', ack: true));
        same([1], $subscriber->next()['data']);
        same([3], $subscriber->next()['data']);
        same(0, $producer->revoke(USER, 'issueUpdate', ISSUE, ack: true));
        $producer->revoke(USER);
        same(0, $producer->publish('notification', data: [4], users: '*', ack: true));
    },

    'publishing continues after a restart of the server' => static function (Server $server): void {
        foreach ([SIGKILL, SIGTERM] as $signal) {
            foreach ([false, true] as $ack) {
                $producer = new Producer($server->path, PATIENT);
                $producer->publish('issueUpdate', ISSUE, ack: $ack);
                $server->stop($signal);
                $server->start();
                $subscriber = $server->subscribe(new Producer($server->path, PATIENT));
                $producer->publish('issueUpdate', ISSUE, [1], ack: $ack);
                $producer->publish('issueUpdate', ISSUE, [2], ack: $ack);
                same([[1], [2]], [$subscriber->next()['data'], $subscriber->next()['data']]);
            }
        }
    },

    'a call waits for a restarting server' => static function (Server $server): void {
        $server->stop();
        $child = fork(static fn () => same(0, (new Producer($server->path, PATIENT))->publish('issueUpdate', ISSUE, ack: true)));
        $server->start();
        same(0, $child());
    },

    'without a server the first call waits and further ones do not' => static function (Server $server): void {
        $producer = new Producer($server->path, IMPATIENT);
        $producer->publish('issueUpdate', ISSUE);
        $server->stop();
        $unsent = raises(Unavailable::class, "no server at {$server->path}", static fn () => $producer->publish('issueUpdate', ISSUE, [1]))->unsent;
        same([[ISSUE, [1]]], array_map(static fn (Event $event) => [$event->id, $event->data], $unsent));
        $pauses = $GLOBALS['pauses'];
        check($pauses > 0, 'the first call waited');
        raises(Unavailable::class, 'no server', static fn () => $producer->publish('issueUpdate', ISSUE));
        same($pauses, $GLOBALS['pauses']);
        $server->start();
        same(null, $producer->publish('issueUpdate', ISSUE));
    },

    'a missing or forbidden socket is reported' => static function (Server $server): void {
        raises(Unavailable::class, 'No such file', static fn () => (new Producer("{$server->path}.not", 0))->publish('issueUpdate', ISSUE));
        raises(Unavailable::class, 'Not a directory', static fn () => (new Producer(__FILE__ . '/x'))->publish('issueUpdate', ISSUE));
    },

    'a server that does not read causes a time-out and loses no event' => static function (Server $server): void {
        $events = array_map(static fn (int $number) => new Event('issueUpdate', ISSUE, [$number, str_repeat('x', 100)]), range(0, 4999));
        $producer = new Producer($server->path, IMPATIENT);
        $patient = new Producer($server->path, PATIENT);
        $subscriber = $server->subscribe($patient);
        $server->signal(SIGSTOP);
        $unsent = raises(TimedOut::class, 'does not read', static fn () => $producer->publishBatch($events))->unsent;
        check(count($unsent) > 0 && count($unsent) < 5000, (string) count($unsent));
        $server->signal(SIGCONT);
        for ($number = 0; $number < 5000 - count($unsent); $number++) {
            same($number, $subscriber->next()['data'][0]);
        }
        $patient->publishBatch($unsent);
        for (; $number < 5000; $number++) {
            same($number, $subscriber->next()['data'][0]);
        }
    },

    'a server that does not confirm causes a time-out' => static function (Server $server): void {
        $producer = new Producer($server->path, IMPATIENT);
        $server->signal(SIGSTOP);
        $unsent = raises(TimedOut::class, 'does not confirm', static fn () => $producer->publish('issueUpdate', ISSUE, ack: true))->unsent;
        same(1, count($unsent));
        $server->signal(SIGCONT);
        // The late answer is not mistaken for another one.
        $subscriber = $server->subscribe(new Producer($server->path, PATIENT));
        retry(static fn () => $producer->publish('issueUpdate', ISSUE, 'again', ack: true) === 1);
        same('again', $subscriber->next()['data']);
    },

    'what the server refuses is thrown with an ack' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        same(1, raises(Refused::class, 'type', static fn () => $producer->publish('issueUpdated', ISSUE, ack: true))->lineNumber);
        $long = static fn () => $producer->publish('issueUpdate', ISSUE, str_repeat('x', 2_000_000), ack: true);
        same(2, raises(Refused::class, 'lineBytes', $long)->lineNumber);
        raises(Refused::class, 'user', static fn () => $producer->revoke('nobody', ack: true));
        same(0, $producer->publish('issueUpdate', ISSUE, ack: true));
    },

    'what the server refuses is reported later without an ack' => static function (Server $server): void {
        $told = [];
        $producer = new Producer($server->path, PATIENT, static function (Refused $refused) use (&$told): void {
            $told[] = $refused->lineNumber;
        });
        $producer->publish('issueUpdate', ISSUE);
        $producer->publish('issueUpdate', 'no id');
        $producer->publish('issueUpdate', ISSUE, ack: true);
        same([2], $told);
        $log = tempnam(sys_get_temp_dir(), 'airlay');
        $before = ini_set('error_log', $log);
        $producer = new Producer($server->path, PATIENT);
        $producer->publish('', ISSUE);
        $producer->publish('issueUpdate', ISSUE, ack: true);
        ini_set('error_log', (string) $before);
        $logged = file_get_contents($log);
        unlink($log);
        check(str_contains($logged, 'event refused: type'), $logged);
    },

    'a batch is written in order and confirmed one by one' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $subscriber = $server->subscribe($producer);
        $events = static function (): iterable {
            for ($number = 0; $number < 10_000; $number++) {
                yield new Event('issueUpdate', ISSUE, $number);
            }
        };
        same(array_fill(0, 10_000, 1), $producer->publishBatch($events(), ack: true));
        same(null, $producer->publishBatch($events()));
        for ($number = 0; $number < 20_000; $number++) {
            same($number % 10_000, $subscriber->next()['data']);
        }
        same(null, $producer->publishBatch([]));
        same([], $producer->publishBatch([], ack: true));
    },

    'a batch with refused events says which' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $events = array_map(static fn (?string $id) => new Event('issueUpdate', $id), [ISSUE, 'no id', ISSUE, null]);
        $refused = raises(Refused::class, 'id', static fn () => $producer->publishBatch($events, ack: true));
        same([0, 'Refused', 0, 'Refused'], array_map(static fn ($result) => is_int($result) ? $result : 'Refused', $refused->results));
        same([], $refused->unsent);
    },

    'data that JSON cannot express throws and sends nothing' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $subscriber = $server->subscribe($producer);
        foreach ([NAN, "\xff", fopen('php://memory', 'r')] as $data) {
            $batch = [new Event('issueUpdate', ISSUE, 'before'), new Event('issueUpdate', ISSUE, $data)];
            raises(\JsonException::class, '', static fn () => $producer->publishBatch($batch));
        }
        $producer->publish('issueUpdate', ISSUE, 'later');
        same('later', $subscriber->next()['data']);
    },

    'a child process has a connection of its own' => static function (Server $server): void {
        $producer = new Producer($server->path, PATIENT);
        $subscriber = $server->subscribe($producer);
        $producer->publish('issueUpdate', ISSUE, 'parent', ack: true);
        same(0, fork(static fn () => same(1, $producer->publish('issueUpdate', ISSUE, 'child', ack: true)))());
        $producer->publish('issueUpdate', ISSUE, 'parent');
        same(['parent', 'child', 'parent'], array_map(static fn () => $subscriber->next()['data'], [1, 2, 3]));
    },

    'unconfirmed events are sent again and confirmed ones are not' => static function (Server $server): void {
        $path = "{$server->path}.script";
        $socket = stream_socket_server("unix://{$path}");
        $child = fork(static function () use ($socket): void {
            $take = static fn ($connection) => json_decode(fgets($connection), true);
            $confirm = static fn ($connection, int $ack) => fwrite($connection, "{\"ack\":{$ack},\"code\":0,\"subscribers\":3}\n");
            $first = stream_socket_accept($socket, PATIENT);
            $event = $take($first);
            $confirm($first, $event['ack']);
            same([1, 2], [$event['data'], $take($first)['data']]);
            fclose($first);
            $second = stream_socket_accept($socket, PATIENT);
            $event = $take($second);
            same(2, $event['data']);
            $confirm($second, $event['ack']);
        });
        $producer = new Producer($path, PATIENT);
        same([3, 3], $producer->publishBatch([new Event('issueUpdate', ISSUE, 1), new Event('issueUpdate', ISSUE, 2)], ack: true));
        same(0, $child());
    },

    'a line is never continued on another connection' => static function (Server $server): void {
        $path = "{$server->path}.script";
        $socket = stream_socket_server("unix://{$path}");
        $child = fork(static function () use ($socket): void {
            $first = stream_socket_accept($socket, PATIENT);
            same(1000, strlen(stream_get_contents($first, 1000)));
            fclose($first);
            $second = stream_socket_accept($socket, PATIENT);
            same(10_000_000, strlen(json_decode(fgets($second), true)['data']));
        });
        // More than a socket buffers, so that the first connection ends inside the line.
        (new Producer($path, PATIENT))->publish('issueUpdate', ISSUE, str_repeat('x', 10_000_000));
        same(0, $child());
    },
];

function check(bool $is, string $what): void
{
    if (!$is) {
        throw new \LogicException($what);
    }
}

function same(mixed $expected, mixed $actual): void
{
    check($expected === $actual, 'expected ' . var_export($expected, true) . ', not ' . var_export($actual, true));
}

/** The exception that `$call` throws; asserts its class and message. */
function raises(string $class, string $message, callable $call): \Throwable
{
    try {
        $call();
    } catch (\Throwable $thrown) {
        check($thrown instanceof $class && str_contains($thrown->getMessage(), $message), (string) $thrown);
        return $thrown;
    }
    throw new \LogicException("nothing was thrown, but {$class} was expected");
}

/** Runs `$do` in a forked process. The returned function waits for its end and returns its exit code. */
function fork(callable $do): callable
{
    $child = pcntl_fork();
    if ($child === 0) {
        try {
            $do();
            // Skips destructors, which would end what belongs to the parent.
            posix_kill(getmypid(), SIGUSR1);
        } catch (\Throwable $thrown) {
            fwrite(STDERR, "in the child: {$thrown}\n");
            posix_kill(getmypid(), SIGUSR2);
        }
    }
    return static function () use ($child): int {
        pcntl_waitpid($child, $status);
        return pcntl_wtermsig($status) === SIGUSR1 ? 0 : 1;
    };
}

/** Waits until the condition holds. */
function retry(callable $condition): void
{
    $end = hrtime(true) + (int) (PATIENT * 1e9);
    while (hrtime(true) < $end) {
        try {
            if ($condition()) {
                return;
            }
        } catch (TimedOut) {
            // Not yet.
        }
        usleep(10_000);
    }
    throw new \LogicException('the condition did not hold in time');
}

error_reporting(E_ALL);
set_error_handler(static function (int $kind, string $message, string $file, int $line): bool {
    if (error_reporting() & $kind) {
        throw new \ErrorException($message, 0, $kind, $file, $line);
    }
    return false;
});
$failed = 0;
$run = 0;
foreach ($tests as $name => $test) {
    if (!str_contains($name, $argv[1] ?? '')) {
        continue;
    }
    $run++;
    $server = new Server();
    try {
        $test($server);
        echo "ok   {$name}\n";
    } catch (\Throwable $thrown) {
        $failed++;
        echo "FAIL {$name}\n     {$thrown}\n";
    } finally {
        $server->end();
    }
}
echo "{$run} tests, {$failed} failed\n";
exit($failed > 0 || $run === 0 ? 1 : 0);
