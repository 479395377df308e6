"""The way through WHM by hand, for who has no button here: the Include Editor's clicks, the lines to paste."""

LINES = "<IfModule ssl_module>\n    SSLUseStapling Off\n</IfModule>"
TURN_OFF = (
    "Log in to WHM as root.",
    "Service Configuration > Apache Configuration > Include Editor.",
    "At Pre VirtualHost Include, select All Versions.",
    "Go to the end of the text and add the lines below.",
    "Update, then Restart Apache.",
)
TURN_ON = (
    "Log in to WHM as root.",
    "Service Configuration > Apache Configuration > Include Editor > Pre VirtualHost Include > All Versions.",
    "Remove the lines that were added (everything else stays).",
    "Update, then Restart Apache.",
)
