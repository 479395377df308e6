package Whostmgr::HTMLInterface;

# Stand-in, following "Guide to WHM Plugins - Interfaces" (api.docs.cpanel.net): defheader( TITLE, ICON, URL ) and
# deffooter() print WHM's page around a plugin's own. Like WHM's, it has its own style sheet, inline scripts, a menu
# and style attributes.

use strict;
use warnings;

sub defheader {
    my ( $title, $icon, $url ) = @_;
    my $token = $ENV{cp_security_token} // '';
    print <<"END";
<!DOCTYPE html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WHM - $title</title>
<link rel="stylesheet" href="$token/styled/chrome.css">
<script>var MASTER = { securityToken: "$token", user: "$ENV{REMOTE_USER}" };</script>
<script type="text/javascript">
document.documentElement.setAttribute("data-chrome", "ready");
</script>
<script src="$token/styled/chrome.js"></script>
</head>
<body class="yui-skin-sam whm">
<header id="whm-header"><a href="$token/">WHM</a> <span class="muted">$ENV{REMOTE_USER}</span>
<a href="$token/logout/" style="float: right">Log Out</a></header>
<nav id="whm-menu" aria-label="WHM"><form class="search" role="search"><label>Search <input type="search" name="q"></label></form>
<a href="$token/">Home</a></nav>
<div id="contentContainer">
<h2 class="page-title"><img src="$token$icon" alt="" width="48" height="48" style="vertical-align: middle"> $title</h2>
END
    return;
}

sub deffooter {
    print qq(</div>\n<footer id="whm-footer">WHM stand-in</footer>\n<script>MASTER.loaded = true;</script>\n</body>\n</html>\n);
    return;
}

1;
