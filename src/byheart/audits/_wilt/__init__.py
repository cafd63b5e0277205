"""Parts of `byheart.audits.wilt`: the rule language, the rules, the game, the measures."""
