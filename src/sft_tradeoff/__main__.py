"""``python -m sft_tradeoff``: the console command, where a launcher wants a module."""

from sft_tradeoff.cli import main

main()
