<?php

declare(strict_types=1);

namespace Airlay\Events;

/** Shadows PHP's function for the producer, and counts its calls. */
function usleep(int $microseconds): void
{
    $GLOBALS['pauses'] = ($GLOBALS['pauses'] ?? 0) + 1;
    \usleep($microseconds);
}
