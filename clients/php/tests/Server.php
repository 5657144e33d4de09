<?php

declare(strict_types=1);

namespace Airlay\Events\Tests;

use Airlay\Events\Producer;

/** A running server that can be killed and started again at the same events socket, `$path`. */
final class Server
{
    public readonly string $path;
    private readonly string $folder;
    private readonly string $program;
    private string $url;
    /** @var resource */
    private $process;
    /** @var list<Subscriber> */
    private array $subscribers = [];

    public function __construct()
    {
        $program = getenv('AIRLAY_CLI');
        check($program !== false, 'AIRLAY_CLI must name the program to test');
        $this->program = $program;
        $this->folder = sys_get_temp_dir() . '/airlay-php-' . bin2hex(random_bytes(8));
        mkdir($this->folder, 0o700);
        $this->path = "{$this->folder}/events.sock";
        $key = self::fixture('live-2048.pub.pem');
        file_put_contents("{$this->folder}/config.ini", <<<INI
            [webSocketEvents]
            address = 127.0.0.1
            port = 0
            [events]
            socket = events.sock
            [token]
            publicKey = {$key}
            [access]
            mode = token
            [limits]
            drainSeconds = 0
            [metrics]
            address =
            INI);
        $this->start();
    }

    public static function fixture(string $name): string
    {
        return dirname(__DIR__, 3) . "/tests/fixtures/{$name}";
    }

    /** Starts it and waits until it is ready. */
    public function start(): void
    {
        $command = [$this->program, 'web_socket', 'server', '--config', "{$this->folder}/config.ini"];
        // The log is a file, so that it need not be read while the server runs.
        $log = "{$this->folder}/log";
        $this->process = proc_open($command, [1 => ['file', '/dev/null', 'w'], 2 => ['file', $log, 'w']], $pipes);
        retry(function () use ($log): bool {
            check(proc_get_status($this->process)['running'], 'the server does not run: ' . file_get_contents($log));
            return preg_match('/msg=ready.* address=(\S+)/', file_get_contents($log), $match) === 1
                && ($this->url = "ws://{$match[1]}/ws") !== '';
        });
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    public function stop(int $signal = SIGKILL): void
    {
        $this->signal($signal);
        proc_close($this->process);
    }

    /** A subscriber; publishes until the server reports that it is attached. */
    public function subscribe(Producer $producer, string $type = 'issueUpdate', string $id = ISSUE): Subscriber
    {
        $subscriber = new Subscriber($this->program, $this->url, $type, $id);
        $this->subscribers[] = $subscriber;
        $users = $type === 'notification' ? '*' : null;
        retry(static fn (): bool => $producer->publish($type, $id === '' ? null : $id, 'attached', $users, ack: true) > 0);
        same('attached', $subscriber->next()['data']);
        return $subscriber;
    }

    public function end(): void
    {
        foreach ($this->subscribers as $subscriber) {
            $subscriber->end();
        }
        $this->signal(SIGCONT);
        $this->stop();
        array_map(unlink(...), glob("{$this->folder}/{,.}*[!.]", GLOB_BRACE));
        rmdir($this->folder);
    }
}

/** `airlay-cli web_socket listen`, which prints events. */
final class Subscriber
{
    /** @var resource */
    private $process;
    /** @var resource */
    private $output;

    public function __construct(string $program, string $url, string $type, string $id)
    {
        // A fixture's first line describes it; the program accepts it as it is.
        $token = [$program, 'web_socket', 'token', '--key', Server::fixture('live-2048.pem'), '--user', USER];
        $made = proc_open($token, [1 => ['pipe', 'w']], $pipes);
        $token = trim(stream_get_contents($pipes[1]));
        same(0, proc_close($made));
        $command = [$program, 'web_socket', 'listen', '--auth', $token, '--url', $url, ...array_filter([$type, $id])];
        $this->process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['file', '/dev/null', 'w']], $pipes);
        $this->output = $pipes[1];
    }

    public function line(): string
    {
        $read = [$this->output];
        $none = [];
        // stream_select() also reports data that PHP has already buffered.
        check(stream_select($read, $none, $none, (int) PATIENT) === 1, 'no event in time');
        $line = fgets($this->output);
        check($line !== false, 'the subscriber has ended');
        return rtrim($line, "\n");
    }

    /** @return array<string, mixed> */
    public function next(): array
    {
        return json_decode($this->line(), true, 512, JSON_THROW_ON_ERROR);
    }

    public function end(): void
    {
        proc_terminate($this->process, SIGKILL);
        proc_close($this->process);
    }
}
